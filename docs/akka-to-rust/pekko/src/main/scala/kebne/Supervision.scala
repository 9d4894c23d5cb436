package kebne

import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, PostStop, PreRestart, SupervisorStrategy }

/** Chapter 5. */
object Supervision {
  sealed trait Work
  final case class Good(replyTo: ActorRef[Int]) extends Work
  case object Bad extends Work
  case object Disk extends Work

  private def worker(done: Int): Behavior[Work] = Behaviors.receiveMessage {
    case Good(replyTo) =>
      replyTo ! done + 1
      worker(done + 1)
    case Bad  => throw new IllegalArgumentException("bad input")
    case Disk => throw new java.io.IOException("disk full")
  }

  def run(kit: ActorTestKit): Unit = {
    val done = kit.createTestProbe[Int]()
    val strategies = Behaviors
      .supervise(Behaviors.supervise(worker(0)).onFailure[IllegalArgumentException](SupervisorStrategy.resume))
      .onFailure[java.io.IOException](SupervisorStrategy.restart.withLimit(3, 1.hour))
    val ref = kit.spawn(strategies)
    ref ! Good(done.ref)
    ref ! Bad
    ref ! Good(done.ref)
    Main.say(s"5 resumed: ${done.receiveMessages(2).mkString(" ")}")
    ref ! Disk
    ref ! Good(done.ref)
    ref ! Good(done.ref)
    Main.say(s"5 restarted, with its mailbox: ${done.receiveMessages(2).mkString(" ")}")
    ref ! Disk
    ref ! Disk
    ref ! Good(done.ref)
    Main.say(s"5 the third restart: ${done.receiveMessage()}")
    ref ! Disk
    done.expectTerminated(ref)
    Main.say("5 the fourth in the window stops it")

    val unsupervised = kit.spawn(worker(0))
    unsupervised ! Bad
    done.expectTerminated(unsupervised)
    Main.say("5 without a strategy a failure stops it")

    starts(kit, "without a limit", SupervisorStrategy.restart)
    starts(kit, "with a limit of 3", SupervisorStrategy.restart.withLimit(3, 1.hour))
    hooks(kit)
  }

  /** How often an actor is started whose start fails. */
  private def starts(kit: ActorTestKit, how: String, strategy: SupervisorStrategy): Unit = {
    val started = kit.createTestProbe[String]()
    val failing: Behavior[String] = Behaviors.setup { _ =>
      started.ref ! "started"
      throw new RuntimeException("no connection")
    }
    val ref = kit.spawn(Behaviors.supervise(failing).onFailure[Exception](strategy))
    started.expectTerminated(ref)
    val times = Iterator.continually(scala.util.Try(started.receiveMessage(100.millis))).takeWhile(_.isSuccess).size
    Main.say(s"5 a restart $how whose start fails is started $times times")
  }

  private def hooks(kit: ActorTestKit): Unit = {
    val seen = kit.createTestProbe[String]()
    def behavior(made: String): Behavior[String] = Behaviors
      .receiveMessage[String] {
        case "fail" => throw new RuntimeException("on purpose")
        case _      => Behaviors.stopped
      }
      .receiveSignal {
        case (_, PreRestart) =>
          seen.ref ! "ended for a restart"
          Behaviors.same
        case (_, PostStop) =>
          seen.ref ! s"ended for good, $made"
          Behaviors.same
      }
    val factory = Behaviors.setup[String] { _ =>
      seen.ref ! "started"
      behavior("as told")
    }
    val ref = kit.spawn(Behaviors.supervise(factory).onFailure[Exception](SupervisorStrategy.restart))
    ref ! "fail"
    ref ! "stop"
    seen.expectTerminated(ref, 3.seconds)
    val order = seen.receiveMessages(4).map(_.takeWhile(_ != ' ')).mkString(" ")
    Main.say(s"5 hooks: $order")
  }
}
