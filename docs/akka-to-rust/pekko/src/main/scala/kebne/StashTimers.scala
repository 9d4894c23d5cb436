package kebne

import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, SupervisorStrategy }

/** Chapter 8. */
object StashTimers {
  sealed trait Event
  final case class Queue(item: Int) extends Event
  case object Flush extends Event

  object Buncher {
    def apply(target: ActorRef[Vector[Int]]): Behavior[Event] = Behaviors.withTimers { timers =>
      def idle: Behavior[Event] = Behaviors.receiveMessage {
        case Queue(item) =>
          timers.startSingleTimer("flush", Flush, 1.second)
          active(Vector(item))
        case Flush => Behaviors.same
      }
      def active(items: Vector[Int]): Behavior[Event] = Behaviors.receiveMessage {
        case Queue(item) =>
          timers.startSingleTimer("flush", Flush, 1.second)
          active(items :+ item)
        case Flush =>
          timers.cancel("flush")
          target ! items
          idle
      }
      idle
    }
  }

  /** Keeps numbers until it is opened; "fail" makes it fail. */
  def store(seen: ActorRef[String]): Behavior[String] = Behaviors.withStash(10) { stash =>
    def open: Behavior[String] = Behaviors.receiveMessage { message =>
      seen ! message
      Behaviors.same
    }
    Behaviors.receiveMessage {
      case "open" =>
        seen ! "open"
        stash.unstashAll(open)
      case "fail" => throw new RuntimeException("on purpose")
      case message =>
        stash.stash(message)
        Behaviors.same
    }
  }

  def run(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    val batches = kit.createTestProbe[Vector[Int]]()
    val buncher = kit.spawn(Buncher(batches.ref))
    def pass(by: FiniteDuration): Unit = {
      // What was told before is handled in real time, before virtual time passes.
      Thread.sleep(300)
      time.timePasses(by)
    }
    buncher ! Queue(42)
    pass(900.millis)
    buncher ! Queue(43)
    pass(900.millis)
    batches.expectNoMessage(100.millis)
    Main.say("8 a timer that is started again is replaced")
    pass(200.millis)
    Main.say(s"8 batch: ${batches.receiveMessage().mkString(" ")}")
    buncher ! Queue(44)
    buncher ! Flush
    Main.say(s"8 batch: ${batches.receiveMessage().mkString(" ")}")
    pass(5.seconds)
    batches.expectNoMessage(100.millis)
    Main.say("8 a cancelled timer never fires")

    val seen = kit.createTestProbe[String]()
    val opened = kit.spawn(store(seen.ref))
    for (message <- Seq("1", "2", "open", "3")) opened ! message
    Main.say(s"8 stash: ${seen.receiveMessages(4).mkString(" ")}")

    val supervised = Behaviors.supervise(store(seen.ref)).onFailure[Exception](SupervisorStrategy.restart)
    val restarted = kit.spawn(supervised)
    for (message <- Seq("1", "2", "fail", "open", "3")) restarted ! message
    val first = seen.receiveMessages(2)
    Main.sayDifferent(s"8 stashed before a restart: ${if (first == Seq("open", "3")) "lost" else "kept"}")

    val full = kit.createTestProbe[String]()
    val small = kit.spawn(Behaviors.withStash[String](1) { stash =>
      Behaviors.receiveMessage { message =>
        full.ref ! (try { stash.stash(message); "kept" }
        catch { case _: org.apache.pekko.actor.typed.javadsl.StashOverflowException => "thrown about" })
        Behaviors.same
      }
    })
    small ! "1"
    small ! "2"
    Main.sayDifferent(s"8 one message more than a stash holds is ${full.receiveMessages(2).last}")

    val quiet = kit.createTestProbe[String]()
    val session = kit.spawn(Behaviors.setup[String] { context =>
      context.setReceiveTimeout(30.seconds, "quiet")
      Behaviors.receiveMessage {
        case "quiet" => Behaviors.stopped
        case _       => Behaviors.same
      }
    })
    pass(20.seconds)
    session ! "touch"
    pass(29.seconds)
    session ! "touch"
    pass(31.seconds)
    quiet.expectTerminated(session)
    Main.say("8 a receive timeout counts from the last message")
  }
}
