package kebne

import java.util.concurrent.CountDownLatch

import scala.concurrent.duration._
import scala.concurrent.{ ExecutionContext, Future }
import scala.util.{ Failure => Failed, Success, Try }

import com.typesafe.config.ConfigFactory
import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, DispatcherSelector }

/** Chapter 19. */
object Blocking {
  sealed trait Command
  final case class Query(call: () => String, replyTo: ActorRef[String]) extends Command
  final case class Ping(replyTo: ActorRef[String]) extends Command
  private final case class Done(answer: String, replyTo: ActorRef[String]) extends Command

  /** Blocks the thread that it is on. */
  def database: Behavior[Command] = Behaviors.receiveMessage {
    case Query(call, replyTo) =>
      replyTo ! call()
      Behaviors.same
    case Ping(replyTo) =>
      replyTo ! "pong"
      Behaviors.same
    case Done(_, _) => Behaviors.same
  }

  /** Lets a thread of another dispatcher block. */
  def polite: Behavior[Command] = Behaviors.receive {
    case (context, Query(call, replyTo)) =>
      implicit val blockingEc: ExecutionContext =
        context.system.dispatchers.lookup(DispatcherSelector.fromConfig("my-blocking-dispatcher"))
      context.pipeToSelf(Future(call())) {
        case Success(answer) => Done(answer, replyTo)
        case Failed(error)   => Done(error.getMessage, replyTo)
      }
      Behaviors.same
    case (_, Done(answer, replyTo)) =>
      replyTo ! answer
      Behaviors.same
    case (_, Ping(replyTo)) =>
      replyTo ! "pong"
      Behaviors.same
  }

  private val config = ConfigFactory.parseString("""
    my-blocking-dispatcher {
      type = Dispatcher
      executor = "thread-pool-executor"
      thread-pool-executor.fixed-pool-size = 2
    }
    one-thread {
      type = Dispatcher
      executor = "thread-pool-executor"
      thread-pool-executor.fixed-pool-size = 1
    }
  """)

  def run(): Unit = {
    val kit = ActorTestKit("blocking", config.withFallback(ConfigFactory.load()))
    val heard = kit.createTestProbe[String]()
    def next(wait: FiniteDuration): String = Try(heard.receiveMessage(wait)).getOrElse("nothing")

    /** Sends a call that blocks to the one and a ping to the other; what is heard before and after the call is released. */
    def blocked(first: ActorRef[Command], second: ActorRef[Command], wait: FiniteDuration): String = {
      val (begun, gate) = (new CountDownLatch(1), new CountDownLatch(1))
      first ! Query(() => { begun.countDown(); gate.await(); "rows" }, heard.ref)
      begun.await()
      second ! Ping(heard.ref)
      val before = next(wait)
      gate.countDown()
      s"$before, then ${next(5.seconds)}"
    }

    val oneThread = DispatcherSelector.fromConfig("one-thread")
    val (one, other) = (kit.spawn(database, oneThread), kit.spawn(database, oneThread))
    Main.say(s"19 beside it on its thread: ${blocked(one, other, 300.millis)}")
    next(5.seconds)
    val apart = kit.spawn(database, DispatcherSelector.fromConfig("my-blocking-dispatcher"))
    Main.say(s"19 apart from it: ${blocked(apart, other, 5.seconds)}")
    val piping = kit.spawn(polite, oneThread)
    Main.say(s"19 itself, where it lets another thread block: ${blocked(piping, piping, 5.seconds)}")
    kit.shutdownTestKit()
  }
}
