package kebne

import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicBoolean

import scala.concurrent.duration._
import scala.concurrent.{ blocking, Await, ExecutionContext, Future }
import scala.jdk.CollectionConverters._

import com.typesafe.config.ConfigFactory
import org.apache.pekko.Done
import org.apache.pekko.actor.CoordinatedShutdown
import org.apache.pekko.actor.typed.scaladsl.AskPattern._
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior }
import org.apache.pekko.util.Timeout

/** Chapter 16. */
object ShutdownLines {
  object Orders {
    sealed trait Command
    final case class Order(replyTo: ActorRef[Done]) extends Command
    private final case class Finished(replyTo: ActorRef[Done]) extends Command

    def apply(): Behavior[Command] = Behaviors.withTimers { timers =>
      Behaviors.receiveMessage {
        case Order(replyTo) =>
          timers.startSingleTimer(Finished(replyTo), 200.millis)
          Behaviors.same
        case Finished(replyTo) =>
          replyTo ! Done
          Behaviors.same
      }
    }
  }

  /** Accepts orders while its door is open, and knows which are under way. */
  class Shop(orders: ActorRef[Orders.Command])(implicit system: ActorSystem[_]) {
    import system.executionContext
    private implicit val timeout: Timeout = 10.seconds
    private var open = true
    private var underWay = Vector.empty[Future[Done]]

    def order(): Boolean = synchronized {
      if (open) underWay :+= orders.ask(Orders.Order(_))
      open
    }
    def unbind(): Future[Done] = synchronized {
      open = false
      Future.successful(Done)
    }
    def drained: Future[Done] = synchronized(Future.sequence(underWay).map(_ => Done))
    def done: Int = synchronized(underWay.count(_.isCompleted))
  }

  def run(): Unit = {
    val config = ConfigFactory.parseString("""
      pekko.coordinated-shutdown.exit-jvm = off
      pekko.coordinated-shutdown.run-by-jvm-shutdown-hook = off
      pekko.coordinated-shutdown.phases.service-stop.timeout = 200ms
    """)
    val guardian = Behaviors.setup[ActorRef[ActorRef[Orders.Command]]] { context =>
      val orders = context.spawn(Orders(), "orders")
      Behaviors.receiveMessage { replyTo =>
        replyTo ! orders
        Behaviors.same
      }
    }
    implicit val system: ActorSystem[ActorRef[ActorRef[Orders.Command]]] =
      ActorSystem(guardian, "shop", config.withFallback(ConfigFactory.load()))
    implicit val executor: ExecutionContext = ExecutionContext.global
    implicit val timeout: Timeout = 3.seconds
    val shop = new Shop(Await.result(system.ask[ActorRef[Orders.Command]](identity), 3.seconds))
    val events = new ConcurrentLinkedQueue[String]
    val ranOn = new AtomicBoolean
    def slow(): Future[Done] = Future(blocking {
      Thread.sleep(600)
      ranOn.set(true)
      Done
    })
    def note(event: String): Future[Done] = Future {
      events.add(event)
      Done
    }

    val shutdown = CoordinatedShutdown(system)
    shutdown.addTask(CoordinatedShutdown.PhaseServiceUnbind, "close the door") { () => shop.unbind() }
    shutdown.addTask(CoordinatedShutdown.PhaseServiceRequestsDone, "drain") { () => shop.drained }
    shutdown.addTask(CoordinatedShutdown.PhaseServiceStop, "a part that hangs") { () => slow() }
    shutdown.addTask(CoordinatedShutdown.PhaseBeforeActorSystemTerminate, "note") { () => note("before-terminate") }
    shutdown.addTask(CoordinatedShutdown.PhaseServiceStop, "note") { () => note("stop") }
    shutdown.addTask(CoordinatedShutdown.PhaseServiceUnbind, "note") { () => note("unbind") }

    val accepted = (1 to 10).count(_ => shop.order())
    Await.result(shutdown.run(CoordinatedShutdown.UnknownReason), 10.seconds)
    Main.say(s"16 orders accepted: $accepted, done: ${shop.done}")
    Main.say(s"16 one more order is accepted: ${shop.order()}")
    Main.say(s"16 phases: ${events.asScala.mkString(" ")}")
    Await.result(shutdown.run(CoordinatedShutdown.UnknownReason), 10.seconds)
    Main.say(s"16 tasks noted after a second run: ${events.size}")
    Thread.sleep(800)
    Main.sayDifferent(s"16 a task that was past its time is completed: ${ranOn.get}")
  }
}
