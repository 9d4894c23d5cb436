package kebne

import scala.concurrent.duration._
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, BehaviorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior }
import org.apache.pekko.actor.typed.scaladsl.adapter._
import org.apache.pekko.stream.scaladsl.Keep
import org.apache.pekko.stream.testkit.scaladsl.{ TestSink, TestSource }

/** Chapter 15. */
object TestingLines {
  sealed trait Alarm
  final case class High(value: Int) extends Alarm
  case object Silence extends Alarm

  sealed trait Command
  final case class Reading(value: Int) extends Command
  private case object Quiet extends Command

  object Sensor {
    def apply(alarms: ActorRef[Alarm]): Behavior[Command] = Behaviors.setup { context =>
      context.setReceiveTimeout(1.hour, Quiet)
      Behaviors.receiveMessage {
        case Reading(0) => Behaviors.stopped
        case Reading(value) =>
          if (value > 90) alarms ! High(value)
          Behaviors.same
        case Quiet =>
          alarms ! Silence
          Behaviors.same
      }
    }
  }

  def run(kit: ActorTestKit, manual: ActorTestKit): Unit = {
    val testKit = manual
    val manualTime = ManualTime()(testKit.system)
    val probe = testKit.createTestProbe[Alarm]()
    val sensor = testKit.spawn(Sensor(probe.ref))
    sensor ! Reading(100)
    Main.say(s"15 the probe gets: ${probe.receiveMessage()}")
    val quiet = Try(manualTime.expectNoMessageFor(59.minutes, probe)).isSuccess
    manualTime.timePasses(1.minute)
    Main.say(s"15 nothing for 59 minutes: $quiet, then: ${probe.receiveMessage()}")

    val byHand = BehaviorTestKit(Sensor(probe.ref))
    byHand.retrieveAllEffects()
    byHand.run(Reading(50))
    val effects = byHand.retrieveAllEffects().size
    val alive = byHand.isAlive
    byHand.run(Reading(0))
    Main.say(s"15 by hand: $effects effects, alive: $alive; after 0: alive: ${byHand.isAlive}")

    implicit val system: ActorSystem[_] = kit.system
    val (feed, sink) =
      TestSource[Int]()(kit.system.toClassic).map(_ * 2).toMat(TestSink[Int]()(kit.system.toClassic))(Keep.both).run()
    sink.request(1)
    feed.sendNext(21)
    Main.say(s"15 through the stream: ${sink.expectNext()}")
    sink.cancel()
    Main.say(s"15 a sink that cancels cancels the source: ${Try(feed.expectCancellation()).isSuccess}")
  }
}
