package kebne

import java.net.URI
import java.net.http.HttpRequest.BodyPublishers
import java.net.http.HttpResponse.BodyHandlers
import java.net.http.{ HttpClient, HttpRequest }

import scala.concurrent.Await
import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.AskPattern._
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior }
import org.apache.pekko.http.scaladsl.Http
import org.apache.pekko.http.scaladsl.model.StatusCodes
import org.apache.pekko.http.scaladsl.server.Directives._
import org.apache.pekko.http.scaladsl.server.Route
import org.apache.pekko.util.Timeout

/** Chapter 25. */
object Weather {
  object Station {
    sealed trait Command
    final case class Record(value: Double, replyTo: ActorRef[Int]) extends Command
    final case class Query(function: String, replyTo: ActorRef[Option[Double]]) extends Command

    def apply(readings: Vector[Double] = Vector.empty): Behavior[Command] = Behaviors.receiveMessage {
      case Record(value, replyTo) =>
        replyTo ! readings.size + 1
        Station(readings :+ value)
      case Query(_, replyTo) if readings.isEmpty =>
        replyTo ! None
        Behaviors.same
      case Query("high-low", replyTo) =>
        replyTo ! Some(readings.max - readings.min)
        Behaviors.same
      case Query(_, replyTo) =>
        replyTo ! Some(readings.sum / readings.size)
        Behaviors.same
    }
  }

  object Stations {
    final case class To(id: String, command: Station.Command)

    def apply(): Behavior[To] = Behaviors.receive { case (context, To(id, command)) =>
      val known = context.child(id).map(_.unsafeUpcast[Station.Command])
      known.getOrElse(context.spawn(Station(), id)) ! command
      Behaviors.same
    }
  }

  def routes(stations: ActorRef[Stations.To])(implicit system: ActorSystem[_]): Route = {
    implicit val timeout: Timeout = 500.millis
    path("weather" / Segment) { id =>
      concat(
        post {
          entity(as[String]) { body =>
            body.toDoubleOption match {
              case None => complete(StatusCodes.BadRequest, "not a number")
              case Some(value) =>
                onSuccess(stations.ask[Int](replyTo => Stations.To(id, Station.Record(value, replyTo)))) { count =>
                  complete(StatusCodes.Accepted, s"$count recorded")
                }
            }
          }
        },
        get {
          parameter("function") {
            case function @ ("average" | "high-low") =>
              val asked = stations.ask[Option[Double]](replyTo => Stations.To(id, Station.Query(function, replyTo)))
              onSuccess(asked) {
                case Some(value) => complete(s"$value")
                case None        => complete(StatusCodes.NotFound, "nothing recorded")
              }
            case _ => complete(StatusCodes.BadRequest, "not a function")
          }
        })
    }
  }

  def run(kit: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    val binding = Await.result(Http().newServerAt("127.0.0.1", 0).bind(routes(kit.spawn(Stations()))), 10.seconds)
    val client = HttpClient.newHttpClient()
    def send(path: String, body: Option[String]): String = {
      val uri = URI.create(s"http://127.0.0.1:${binding.localAddress.getPort}/weather/$path")
      val request = HttpRequest.newBuilder(uri)
      body.foreach(text => request.POST(BodyPublishers.ofString(text)))
      val response = client.send(request.build(), BodyHandlers.ofString())
      s"${response.statusCode} ${response.body}"
    }
    def post(path: String, body: String): String = send(path, Some(body))
    def get(path: String): String = send(path, None)
    Main.say(s"25 two readings: ${post("kiruna", "-20")}, ${post("kiruna", "-10.5")}")
    Main.say(s"25 a reading that is not a number: ${post("kiruna", "cold")}")
    Main.say(s"25 the average: ${get("kiruna?function=average")}")
    Main.say(s"25 the difference: ${get("kiruna?function=high-low")}")
    Main.say(s"25 a station without readings: ${get("abisko?function=average")}")
    Main.say(s"25 a function that is not there: ${get("kiruna?function=median")}")
    Await.result(binding.unbind(), 10.seconds)
    ()
  }
}
