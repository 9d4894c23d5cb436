package kebne

import java.util.concurrent.atomic.AtomicInteger

import scala.collection.mutable.ArrayBuffer
import scala.concurrent.duration._
import scala.concurrent.{ Await, Future }
import scala.util.Try

import org.apache.pekko.NotUsed
import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.ActorSystem
import org.apache.pekko.actor.typed.scaladsl.adapter._
import org.apache.pekko.stream.scaladsl.{ Flow, Keep, RestartSource, Sink, Source }
import org.apache.pekko.stream.testkit.scaladsl.{ TestSink, TestSource }
import org.apache.pekko.stream.{ OverflowStrategy, RestartSettings }

/** Chapter 23. */
object OperatorLines {
  def run(kit: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    def seq[T](source: Source[T, _]): Seq[T] = Await.result(source.runWith(Sink.seq), 10.seconds)

    val pulled = new AtomicInteger
    val readings = Source(1 to 5).map { reading => pulled.incrementAndGet(); reading }
    val before = pulled.get
    seq(readings)
    Main.say(s"23 pulled before it is run: $before, by it: ${pulled.get}")
    Main.sayDifferent(s"23 elements of two runs: ${seq(readings).size} ${seq(readings).size}")

    /** Reads the first element, sends more while nobody reads, and reads what is left of them. */
    def away(flow: Flow[Int, Int, NotUsed], reads: Int): Seq[Int] = {
      val (feed, sink) = TestSource[Int]()(system.toClassic)
        .via(flow)
        .toMat(TestSink[Int]()(system.toClassic))(Keep.both)
        .run()
      sink.request(1)
      feed.sendNext(1)
      sink.expectNext(1)
      for (reading <- 2 to 5) feed.sendNext(reading)
      Thread.sleep(100)
      sink.request(reads.toLong)
      val seen = (1 to reads).map(_ => sink.expectNext())
      sink.cancel()
      seen
    }
    val latest = Flow[Int].conflate((_, newest) => newest)
    val total = Flow[Int].conflate(_ + _)
    val lastTwo = Flow[Int].buffer(2, OverflowStrategy.dropHead)
    val ends = Flow[Int].buffer(2, OverflowStrategy.dropTail)
    Main.say(s"23 away for 2 to 5, the latest: ${away(latest, 1).mkString(" ")}, the sum: ${away(total, 1).mkString(" ")}")
    Main.say(s"23 a buffer that drops its head: ${away(lastTwo, 2).mkString(" ")}")
    Main.say(s"23 a buffer that drops its tail: ${away(ends, 2).mkString(" ")}")

    val groups = seq(Source(1 to 7).groupedWithin(3, 1.hour))
    Main.say(s"23 groups: ${groups.map(_.mkString(" ")).mkString(" | ")}")

    /** Yields one element, and fails at the next. */
    def broken(first: Int): Source[Int, NotUsed] = Source(List(first, 0)).map {
      case 0       => throw new RuntimeException("broken")
      case element => element
    }
    val recovered = broken(1).recoverWithRetries(1, { case _ => Source(List(8, 9)) })
    Main.say(s"23 recovered: ${seq(recovered).mkString(" ")}")
    // Both sources of `concat` run from the beginning, and a failure does not wait.
    val overtaken = Source.single(1).concat(Source.failed(new RuntimeException("broken")))
    val kept = seq(overtaken.recoverWithRetries(1, { case _ => Source(List(8, 9)) })).contains(1)
    Main.sayDifferent(s"23 an element in front of a source that has failed is kept: $kept")

    val settings = RestartSettings(10.millis, 10.millis, 0.0).withMaxRestarts(2, 1.minute)
    val starts = new AtomicInteger
    val restarted = RestartSource.onFailuresWithBackoff(settings)(() => broken(starts.incrementAndGet()))
    val seen = ArrayBuffer.empty[Int]
    val end: Future[_] = restarted.runForeach(reading => seen += reading)
    val failed = Try(Await.result(end, 10.seconds)).isFailure
    Main.say(s"23 restarted twice: ${seen.mkString(" ")}, then it fails: $failed")
  }
}
