package kebne

import java.net.Socket
import java.util.concurrent.atomic.AtomicInteger

import scala.concurrent.duration._
import scala.concurrent.{ Await, Promise }
import scala.util.Try

import org.apache.pekko.Done
import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.ActorSystem
import org.apache.pekko.http.scaladsl.Http
import org.apache.pekko.http.scaladsl.marshalling.sse.EventStreamMarshalling._
import org.apache.pekko.http.scaladsl.model.sse.ServerSentEvent
import org.apache.pekko.http.scaladsl.server.Directives._
import org.apache.pekko.http.scaladsl.server.Route
import org.apache.pekko.stream.scaladsl.Source

/** Chapter 24. */
object Sse {
  def route(tokens: Source[String, _]): Route = path("events") {
    get {
      complete {
        tokens
          .map(token => ServerSentEvent(token))
          .keepAlive(300.millis, () => ServerSentEvent.heartbeat)
      }
    }
  }

  /** A client that reads only when it is told to. */
  final class Client(port: Int) {
    private val socket = new Socket("127.0.0.1", port)
    socket.setSoTimeout(3000)
    socket.getOutputStream.write("GET /events HTTP/1.1\r\nHost: test\r\n\r\n".getBytes)

    def readUntil(done: String => Boolean): String = {
      val text = new StringBuilder
      val bytes = new Array[Byte](16384)
      while (!done(text.toString)) {
        val read = socket.getInputStream.read(bytes)
        if (read < 0) throw new RuntimeException("the server closed the connection")
        text ++= new String(bytes, 0, read)
      }
      text.toString
    }
    def close(): Unit = socket.close()
  }

  def run(kit: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    import system.executionContext
    def serve(tokens: Source[String, _]) =
      Await.result(Http().newServerAt("127.0.0.1", 0).bind(route(tokens)), 10.seconds)

    val produced = new AtomicInteger
    val ended = Promise[Done]()
    val filling = "." * 1000
    val model = Source(0 until 1000000)
      .map { number => produced.incrementAndGet(); s"$number $filling" }
      .watchTermination() { (_, end) => end.onComplete(_ => ended.trySuccess(Done)) }
    val server = serve(model)
    val client = new Client(server.localAddress.getPort)
    // Until nothing was made for half a second.
    var (last, now, rounds) = (0, 0, 0)
    while ((now == 0 || now != last) && rounds < 40) {
      Thread.sleep(500)
      last = now
      now = produced.get
      rounds += 1
    }
    Main.say(s"24 while its client reads nothing the model stops: ${now > 0 && now == last && now < 1000000}")
    val event = "data: ?([0-9]+) ".r
    val text = client.readUntil(text => event.findAllIn(text).size >= 5)
    Main.say(s"24 then it reads: ${event.findAllMatchIn(text).map(_.group(1)).take(5).mkString(" ")}")
    client.close()
    val stopped = Try(Await.result(ended.future, 20.seconds)).isSuccess
    Main.say(s"24 the client leaves, and the model ends: $stopped")

    val silent = serve(Source.never[String])
    val waiting = new Client(silent.localAddress.getPort)
    val heartbeat = waiting.readUntil(text => text.split("\r\n\r\n", 2).lastOption.exists(_.contains("\n\n")))
    val line = heartbeat.split("\r\n\r\n", 2).last.linesIterator.find(_.contains(":")).getOrElse("none")
    Main.sayDifferent(s"24 a heartbeat is the line `$line`")
    waiting.close()
    Await.result(server.terminate(1.second).zip(silent.terminate(1.second)), 10.seconds)
    ()
  }
}
