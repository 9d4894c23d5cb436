package kebne

import java.net.URI
import java.net.http.HttpResponse.BodyHandlers
import java.net.http.{ HttpClient, HttpRequest }

import scala.concurrent.Await
import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.AskPattern._
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior }
import org.apache.pekko.http.scaladsl.Http
import org.apache.pekko.http.scaladsl.server.Directives._
import org.apache.pekko.http.scaladsl.server.Route

/** Chapter 21: the service as it is. */
object Moving {
  final case class GetPrice(item: String, replyTo: ActorRef[String])

  def prices: Behavior[GetPrice] = Behaviors.receiveMessage {
    // It does not answer for what it does not know.
    case GetPrice(item, _) if !item.forall(_.isDigit) => Behaviors.same
    case GetPrice(item, replyTo) =>
      replyTo ! s"${item.toInt * 10}"
      Behaviors.same
  }

  def route(prices: ActorRef[GetPrice])(implicit system: ActorSystem[_]): Route =
    path("price" / Segment) { item => complete(prices.ask(GetPrice(item, _))(500.millis, system.scheduler)) }

  def run(kit: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    val binding = Await.result(Http().newServerAt("127.0.0.1", 0).bind(route(kit.spawn(prices))), 10.seconds)
    val client = HttpClient.newHttpClient()
    def get(path: String): (Int, String) = {
      val uri = URI.create(s"http://127.0.0.1:${binding.localAddress.getPort}$path")
      val response = client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString())
      (response.statusCode, response.body)
    }
    val (status, price) = get("/price/7")
    Main.say(s"21 the price of 7: $status $price")
    Main.say(s"21 a path that is not there: ${get("/cost/7")._1}")
    Main.sayDifferent(s"21 an actor that does not answer in time: ${get("/price/tea")._1}")
    Await.result(binding.unbind(), 10.seconds)
  }
}
