package kebne

import java.util.concurrent.atomic.AtomicInteger

import scala.concurrent.duration._
import scala.concurrent.{ Await, Future, Promise }
import scala.util.{ Failure => Failed, Success, Try }

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.ActorSystem
import org.apache.pekko.actor.typed.scaladsl.adapter._
import org.apache.pekko.pattern.{ after, CircuitBreaker, CircuitBreakerOpenException, RetrySupport }
import org.apache.pekko.stream.scaladsl.{ Keep, Sink, Source }
import org.apache.pekko.stream.{ ActorAttributes, OverflowStrategy, QueueOfferResult, Supervision => Decide }

/** The worked example, operator by operator. */
object Streams {
  def run(kit: ActorTestKit, manual: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    import system.executionContext
    def result[T](future: Future[T]): T = Await.result(future, 10.seconds)
    def seq[T](source: Source[T, _]): Seq[T] = result(source.runWith(Sink.seq))
    def late[T](by: FiniteDuration)(value: => T): Future[T] =
      after(by, system.toClassic.scheduler)(Future(value))

    val unevenly = Source(0 until 8).mapAsync(4)(n => late((if (n % 2 == 0) 120 else 20).millis)(n))
    Main.say(s"9 mapAsync keeps the order: ${seq(unevenly).mkString(" ")}")

    val most = new AtomicInteger
    val running = new AtomicInteger
    val counted = Source(0 until 20).mapAsync(4) { n =>
      val now = running.incrementAndGet()
      most.updateAndGet(_.max(now))
      late(20.millis) { running.decrementAndGet(); n }
    }
    seq(counted)
    Main.say(s"9 mapAsync(4) runs at most: ${most.get}")

    val skips = Source(0 until 6)
      .mapAsync(4)(n => if (n == 2) Future.failed(new RuntimeException("two")) else Future.successful(n))
      .withAttributes(ActorAttributes.supervisionStrategy(Decide.resumingDecider))
    Main.say(s"9 a failure that is resumed is left out: ${seq(skips).mkString(" ")}")

    val never = Promise[Int]()
    val fails = Source(0 until 2).mapAsync(2)(n => if (n == 0) never.future else Future.failed(new RuntimeException("one")))
    val failed = Try(seq(fails)) match {
      case Failed(error) => error.getMessage
      case Success(_)    => "nothing"
    }
    Main.say(s"9 a failure does not wait for its turn: $failed")

    val burst = Source(0 until 9).throttle(1, 1.hour, 3, org.apache.pekko.stream.ThrottleMode.Shaping).takeWithin(500.millis)
    Main.say(s"9 the bucket starts full: ${seq(burst).mkString(" ")}")

    val exceeds = Try(seq(Source(0 until 9).throttle(1, 1.hour, 3, org.apache.pekko.stream.ThrottleMode.Enforcing)))
    Main.say(s"9 enforcing fails: ${exceeds.isFailure}")

    val offers = Source.queue[Int](2).toMat(Sink.never)(Keep.left).run()
    val results = (0 until 6).map(offers.offer).map {
      case QueueOfferResult.Enqueued => "enqueued"
      case QueueOfferResult.Dropped  => "dropped"
      case other                     => other.toString
    }
    Main.say(s"9 the last offer to a full queue: ${results.last}")
    offers.complete()
    Main.say(s"9 an offer to a closed queue: ${if (offers.offer(9) == QueueOfferResult.QueueClosed) "closed" else "taken"}")

    val kept = Source(0 until 9).buffer(3, OverflowStrategy.fail)
    val (gate, held) = kept.toMat(Sink.queue[Int]().withAttributes(org.apache.pekko.stream.Attributes.inputBuffer(1, 1)))(Keep.both).run()
    val overflown = Try((0 until 9).map(_ => result(held.pull())))
    Main.say(s"9 a buffer that overflows fails: ${gate.isInstanceOf[org.apache.pekko.NotUsed] && overflown.isFailure}")

    retry(manual)
    breaker(manual)
  }

  private def retry(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    implicit val executor: scala.concurrent.ExecutionContext = kit.system.executionContext
    implicit val scheduler: org.apache.pekko.actor.Scheduler = kit.system.toClassic.scheduler
    val attempts = new AtomicInteger
    def attempt(): Future[Int] = {
      attempts.incrementAndGet()
      Future.failed(new RuntimeException("no"))
    }
    RetrySupport.retry(() => attempt(), 3, 100.millis, 500.millis, 0.0)
    var at = Vector.empty[Long]
    var seen = 0
    for (now <- 0L to 1200L by 100L) {
      Thread.sleep(200)
      if (attempts.get > seen) {
        seen = attempts.get
        at :+= now
      }
      time.timePasses(100.millis)
    }
    Main.say(s"9 retry with backoff, attempts at ms: ${at.mkString(" ")}")
  }

  private def breaker(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    implicit val executor: scala.concurrent.ExecutionContext = kit.system.executionContext
    val breaker = new CircuitBreaker(kit.system.toClassic.scheduler, 2, 1.second, 10.seconds)
    def call(good: Boolean): String =
      Try(
        Await.result(
          breaker.withCircuitBreaker(if (good) Future.successful("ok") else Future.failed[String](new RuntimeException("bad"))),
          3.seconds)) match {
        case Success(answer)                         => answer
        case Failed(_: CircuitBreakerOpenException) => "open"
        case Failed(error)                           => error.getMessage
      }
    val before = Seq(call(good = false), call(good = false), call(good = true))
    Thread.sleep(300)
    time.timePasses(10.seconds)
    Thread.sleep(300)
    val later = Seq(call(good = false), call(good = true))
    Thread.sleep(300)
    time.timePasses(10.seconds)
    Thread.sleep(300)
    val last = Seq(call(good = true), call(good = false), call(good = true))
    Main.say(s"9 breaker: ${(before ++ later ++ last).mkString(" ")}")
  }
}
