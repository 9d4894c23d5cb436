package kebne

import scala.concurrent.duration._
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ Behavior, SupervisorStrategy }

/** Chapter 6. */
object Backoff {
  /** Real time in which an actor has certainly done what was due; virtual time does not pass meanwhile. */
  private val settle = 300.millis

  def run(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    val attempts = kit.createTestProbe[String]()
    val client: Behavior[String] = Behaviors.setup { _ =>
      attempts.ref ! "attempt"
      throw new RuntimeException("connection refused")
    }
    val strategy = SupervisorStrategy.restartWithBackoff(200.millis, 1.second, 0.0)
    val ref = kit.spawn(Behaviors.supervise(client).onFailure[Exception](strategy))
    var at = Vector.empty[Long]
    for (now <- 0L to 2600L by 200L) {
      if (Try(attempts.receiveMessage(settle)).isSuccess) at :+= now
      Thread.sleep(settle.toMillis / 2)
      time.timePasses(200.millis)
    }
    Main.say(s"6 attempts at ms: ${at.mkString(" ")}")
    kit.stop(ref)
  }
}
