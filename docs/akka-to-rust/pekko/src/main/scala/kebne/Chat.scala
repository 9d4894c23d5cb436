package kebne

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior }

/** Chapter 2. */
object Chat {
  sealed trait RoomCommand
  final case class GetSession(name: String, replyTo: ActorRef[SessionEvent]) extends RoomCommand
  private final case class Publish(name: String, text: String) extends RoomCommand

  sealed trait SessionCommand
  final case class Post(text: String) extends SessionCommand
  private final case class Notify(posted: Posted) extends SessionCommand

  sealed trait SessionEvent
  final case class Granted(session: ActorRef[Post]) extends SessionEvent
  final case class Posted(name: String, text: String) extends SessionEvent

  object Room {
    def apply(sessions: List[ActorRef[SessionCommand]] = Nil): Behavior[RoomCommand] = Behaviors.receive {
      case (context, GetSession(name, client)) =>
        val session = context.spawn(Session(context.self, name, client), s"session-$name")
        client ! Granted(session)
        Room(session :: sessions)
      case (_, Publish(name, text)) =>
        sessions.foreach(_ ! Notify(Posted(name, text)))
        Behaviors.same
    }
  }

  private object Session {
    def apply(room: ActorRef[Publish], name: String, client: ActorRef[SessionEvent]): Behavior[SessionCommand] =
      Behaviors.receiveMessage {
        case Post(text) =>
          room ! Publish(name, text)
          Behaviors.same
        case Notify(posted) =>
          client ! posted
          Behaviors.same
      }
  }

  def run(kit: ActorTestKit): Unit = {
    val room = kit.spawn(Room())
    val (ann, bob) = (kit.createTestProbe[SessionEvent](), kit.createTestProbe[SessionEvent]())
    room ! GetSession("ann", ann.ref)
    val session = ann.receiveMessage() match {
      case Granted(session) => Some(session)
      case _                => None
    }
    Main.say(s"2 ann is granted a session: ${session.isDefined}")
    room ! GetSession("bob", bob.ref)
    Main.say(s"2 bob too: ${bob.receiveMessage().isInstanceOf[Granted]}")
    session.foreach(_ ! Post("hello"))
    for (client <- Seq(ann, bob)) client.receiveMessage() match {
      case Posted(name, text) => Main.say(s"2 heard of $name: $text")
      case other              => Main.say(s"2 heard $other")
    }
  }
}
