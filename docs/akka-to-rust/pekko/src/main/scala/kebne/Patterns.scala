package kebne

import scala.concurrent.duration._
import scala.util.{ Failure => Failed, Success }

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior }
import org.apache.pekko.util.Timeout

/** Chapter 3. */
object Patterns {
  object Backend {
    final case class Translate(page: Int, replyTo: ActorRef[Response])
    final case class Response(page: Int)

    def apply(): Behavior[Translate] = Behaviors.receiveMessage { case Translate(page, replyTo) =>
      replyTo ! Response(page)
      Behaviors.same
    }
  }

  object Hal {
    sealed trait Command
    final case class OpenThePodBayDoorsPlease(replyTo: ActorRef[Response]) extends Command
    final case class Response(text: String)

    def apply(): Behavior[Command] = Behaviors.receiveMessage { case OpenThePodBayDoorsPlease(replyTo) =>
      replyTo ! Response("I'm sorry, Dave")
      Behaviors.same
    }
  }

  sealed trait Command
  private final case class WrappedResponse(response: Backend.Response) extends Command
  private final case class AdaptedResponse(text: String) extends Command

  def dave(
      backend: ActorRef[Backend.Translate],
      hal: ActorRef[Hal.Command],
      seen: ActorRef[String]): Behavior[Command] = Behaviors.setup { context =>
    implicit val timeout: Timeout = 300.millis
    val adapter: ActorRef[Backend.Response] = context.messageAdapter(response => WrappedResponse(response))
    backend ! Backend.Translate(7, adapter)

    context.ask(hal, Hal.OpenThePodBayDoorsPlease.apply) {
      case Success(Hal.Response(text)) => AdaptedResponse(text)
      case Failed(_)                   => AdaptedResponse("Request failed")
    }
    Behaviors.receiveMessage {
      case WrappedResponse(Backend.Response(page)) =>
        seen ! s"adapted: $page"
        Behaviors.same
      case AdaptedResponse(text) =>
        seen ! s"asked: $text"
        Behaviors.same
    }
  }

  def run(kit: ActorTestKit): Unit = {
    val seen = kit.createTestProbe[String]()
    val backend = kit.spawn(Backend())
    kit.spawn(dave(backend, kit.spawn(Hal()), seen.ref))
    seen.receiveMessages(2).sorted.foreach(line => Main.say(s"3 $line"))
    kit.spawn(dave(backend, kit.spawn(Behaviors.ignore[Hal.Command]), seen.ref))
    Main.say(s"3 where nobody answers, ${seen.receiveMessages(2).sorted.last}")
  }
}
