package kebne.worked

import java.io.IOException
import java.util.concurrent.TimeoutException

import scala.concurrent.duration._
import scala.concurrent.{ Await, Future }

import org.apache.pekko.actor.Scheduler
import org.apache.pekko.actor.typed.ActorSystem
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.http.scaladsl.Http
import org.apache.pekko.http.scaladsl.model.{ ContentTypes, HttpEntity, HttpMethods, HttpRequest }
import org.apache.pekko.http.scaladsl.unmarshalling.Unmarshal
import org.apache.pekko.pattern.{ after, retry }
import org.apache.pekko.stream.scaladsl.{ Sink, Source }
import org.apache.pekko.stream.{ ActorAttributes, Supervision }

/** Chapter 9 in Scala. */
object ScalaProgram {
  def main(args: Array[String]): Unit = {
    implicit val system: ActorSystem[Nothing] = ActorSystem[Nothing](Behaviors.empty, "prompts")
    import system.executionContext
    implicit val scheduler: Scheduler = system.classicSystem.scheduler
    val modelUrl = s"${args(0)}/scala/models/tiny"
    val prompts = (0 until 100).toList

    def callModel(prompt: Int): Future[String] = {
      val entity = HttpEntity(ContentTypes.`application/json`, s"""{"inputs": "prompt $prompt"}""")
      Http().singleRequest(HttpRequest(HttpMethods.POST, modelUrl, entity = entity)).flatMap { response =>
        if (response.status.isSuccess()) Unmarshal(response.entity).to[String]
        else {
          response.discardEntityBytes()
          Future.failed(new IOException(response.status.toString))
        }
      }
    }
    def withTimeout[T](limit: FiniteDuration)(call: Future[T]): Future[T] =
      Future.firstCompletedOf(Seq(call, after(limit, scheduler)(Future.failed(new TimeoutException("too late")))))

    val begun = System.nanoTime()
    val paced = Source(prompts.take(20))
      .throttle(1, 50.millis)
      .concat(Source(prompts.drop(20)).throttle(10, 100.millis))
    val answers = paced
      .mapAsync(4) { prompt =>
        retry(() => withTimeout(200.millis)(callModel(prompt)), attempts = 2, delay = 30.millis)
      }
      .withAttributes(ActorAttributes.supervisionStrategy(Supervision.resumingDecider))
      .runWith(Sink.seq)
    val answered = Await.result(answers, 60.seconds).size
    println(s"worked Scala $answered ${(System.nanoTime() - begun) / 1000000}")
    system.terminate()
    Await.result(system.whenTerminated, 60.seconds)
    ()
  }
}
