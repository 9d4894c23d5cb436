package kebne

import scala.collection.immutable.Queue
import scala.concurrent.Await
import scala.concurrent.duration._
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior }
import org.apache.pekko.stream.ThrottleMode
import org.apache.pekko.stream.scaladsl.{ Sink, Source }

/** Chapter 14. */
object Rate {
  final case class Prompt(tokens: Int)

  object Limiter {
    sealed trait Command
    final case class Take(replyTo: ActorRef[String]) extends Command
    private case object Refill extends Command

    def apply(burst: Int, every: FiniteDuration): Behavior[Command] = Behaviors.withTimers { timers =>
      timers.startTimerAtFixedRate(Refill, every)
      def open(tokens: Int, waiting: Queue[ActorRef[String]]): Behavior[Command] = Behaviors.receiveMessage {
        case Take(replyTo) if tokens > 0 =>
          replyTo ! "granted"
          open(tokens - 1, waiting)
        case Take(replyTo) => open(0, waiting.enqueue(replyTo))
        case Refill =>
          waiting.dequeueOption match {
            case Some((first, others)) =>
              first ! "granted"
              open(0, others)
            case None => open(burst.min(tokens + 1), waiting)
          }
      }
      open(burst, Queue.empty)
    }
  }

  def run(kit: ActorTestKit, manual: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    val prompts = Source(List(200, 100, 100, 300).map(Prompt(_)))
    val shaped = prompts.throttle(cost = 200, per = 1.second, maximumBurst = 200, _.tokens, ThrottleMode.Shaping)
    val begun = System.nanoTime()
    // The JVM may be late by some milliseconds.
    val passed = shaped.map(_ => (System.nanoTime() - begun) / 500000000L * 500)
    val at = Await.result(passed.runWith(Sink.seq), 10.seconds)
    Main.say(s"14 prompts of 200, 100, 100 and 300 tokens pass at ms: ${at.mkString(" ")}")

    val seen = new java.util.concurrent.atomic.AtomicInteger
    val enforced = prompts
      .throttle(cost = 200, per = 1.second, maximumBurst = 200, _.tokens, ThrottleMode.Enforcing)
      .runForeach(_ => seen.incrementAndGet())
    val failed = Try(Await.result(enforced, 10.seconds)).isFailure
    Main.say(s"14 enforced: ${seen.get} passes, then it fails: $failed")

    val time = ManualTime()(manual.system)
    val limiter = manual.spawn(Limiter(2, 1.second))
    val granted = manual.createTestProbe[String]()
    for (_ <- 1 to 5) limiter ! Limiter.Take(granted.ref)
    var grants = Vector.empty[Int]
    for (second <- 0 to 4) {
      while (Try(granted.receiveMessage(400.millis)).isSuccess) grants :+= second
      time.timePasses(1.second)
    }
    Main.say(s"14 one limiter for five, granted at s: ${grants.mkString(" ")}")
    manual.stop(limiter)
  }
}
