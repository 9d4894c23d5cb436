package kebne

import java.util.concurrent.atomic.{ AtomicBoolean, AtomicInteger }

import scala.concurrent.duration._
import scala.concurrent.{ Await, Future }
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.adapter._
import org.apache.pekko.pattern.{ after, retry, CircuitBreaker }

/** Chapter 13. */
object BreakerRetry {
  def run(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    implicit val executor: scala.concurrent.ExecutionContext = kit.system.executionContext
    implicit val scheduler: org.apache.pekko.actor.Scheduler = kit.system.toClassic.scheduler
    def pass(by: FiniteDuration): Unit = {
      Thread.sleep(100)
      time.timePasses(by)
      Thread.sleep(100)
    }

    val down = new AtomicBoolean
    val calls = new AtomicInteger
    def callProvider(): Future[String] = {
      calls.incrementAndGet()
      if (down.get) Future.failed(new RuntimeException("down")) else Future.successful("hello")
    }

    val breaker =
      new CircuitBreaker(scheduler, maxFailures = 3, callTimeout = 10.seconds, resetTimeout = 30.seconds)
    def guarded(): Future[String] = retry(
      () => breaker.withCircuitBreaker(callProvider()),
      attempts = 2,
      minBackoff = 100.millis,
      maxBackoff = 1.second,
      randomFactor = 0.0)

    def once(): String = Try(Await.result(breaker.withCircuitBreaker(callProvider()), 3.seconds)).getOrElse("failed")
    Main.say(s"13 a provider that is up: ${Await.result(guarded(), 3.seconds)}")
    down.set(true)
    val failing = guarded()
    for (_ <- 1 to 6) pass(100.millis)
    Main.say(s"13 one call with two retries reaches it: ${calls.get - 1} times, completed: ${failing.isCompleted}")
    for (_ <- 1 to 10) once()
    Main.say(s"13 ten calls after that reach it: ${calls.get - 4} times")
    pass(31.seconds)
    for (_ <- 1 to 10) once()
    Main.say(s"13 ten calls while it is half-open and down: ${calls.get - 4}")
    down.set(false)
    pass(31.seconds)
    val answers = (1 to 3).map(_ => once()).mkString(" ")
    Main.say(s"13 after a probe that succeeds: $answers")

    val finished = new AtomicBoolean
    def slow(): Future[Unit] = after(15.seconds, scheduler)(Future(finished.set(true)))
    val late = breaker.withCircuitBreaker(slow())
    pass(11.seconds)
    Main.say(s"13 a call past its timeout fails: ${late.value.exists(_.isFailure)}")
    pass(10.seconds)
    Main.sayDifferent(s"13 its work is completed all the same: ${finished.get}")
  }
}
