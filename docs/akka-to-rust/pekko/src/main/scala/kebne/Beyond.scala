package kebne

import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicInteger

import scala.collection.mutable.ArrayBuffer
import scala.concurrent.duration._
import scala.concurrent.{ ExecutionContext, Future }

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.AskPattern._
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.scaladsl.adapter._
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior, PostStop }
import org.apache.pekko.pattern.after

/** Chapter 20. */
object Beyond {
  final case class Search(pages: List[Int], replyTo: ActorRef[Int])

  final class Index(read: Int => Future[Int])(implicit executor: ExecutionContext) {
    def search(pages: List[Int]): Future[Int] = pages match {
      case Nil          => Future.successful(0)
      case page :: rest => read(page).flatMap(found => search(rest).map(found + _))
    }
  }

  def behavior(index: Index)(implicit executor: ExecutionContext): Behavior[Search] = Behaviors.receiveMessage {
    case Search(pages, replyTo) =>
      // It goes on, whether somebody waits or not.
      index.search(pages).foreach(replyTo ! _)
      Behaviors.same
  }

  /** A message that can be changed after it was sent. */
  final case class Batch(items: ArrayBuffer[Int], gate: CountDownLatch, replyTo: ActorRef[Int])

  private def counting: Behavior[Batch] = Behaviors.receiveMessage { case Batch(items, gate, replyTo) =>
    gate.await()
    replyTo ! items.size
    Behaviors.same
  }

  private def owner(seats: AtomicInteger): Behavior[String] = Behaviors.setup { _ =>
    seats.incrementAndGet()
    Behaviors
      .receiveMessage[String](_ => throw new RuntimeException("a bug"))
      .receiveSignal { case (_, PostStop) =>
        seats.decrementAndGet()
        Behaviors.same
      }
  }

  def run(kit: ActorTestKit, manual: ActorTestKit): Unit = {
    val time = ManualTime()(manual.system)
    implicit val system: ActorSystem[_] = manual.system
    implicit val executor: ExecutionContext = system.executionContext
    val pagesRead = new AtomicInteger
    val index = new Index(_ => after(1.second, system.toClassic.scheduler)(Future(pagesRead.incrementAndGet())))
    val asked = manual.spawn(behavior(index)).ask(Search((1 to 10).toList, _))(3500.millis, system.scheduler)
    for (_ <- 1 to 24) {
      Thread.sleep(30)
      time.timePasses(500.millis)
    }
    Thread.sleep(100)
    Main.say(s"20 an ask of 3.5 s for ten pages of 1 s each has failed: ${asked.value.exists(_.isFailure)}")
    Main.sayDifferent(s"20 pages that were read for it: ${pagesRead.get}")

    val size = kit.createTestProbe[Int]()
    val batch = Batch(ArrayBuffer(1, 2, 3), new CountDownLatch(1), size.ref)
    kit.spawn(counting) ! batch
    batch.items.clear()
    batch.gate.countDown()
    Main.sayDifferent(s"20 items of a batch that its sender clears after sending: ${size.receiveMessage()}")

    val seats = new AtomicInteger
    val failing = kit.spawn(owner(seats))
    failing ! "work"
    size.expectTerminated(failing, 3.seconds)
    Main.say(s"20 seats in use after their owner failed: ${seats.get}")
  }
}
