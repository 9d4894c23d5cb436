package kebne

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior }

/** Chapter 1. */
object Hello {
  object Counter {
    sealed trait Command
    case object Increment extends Command
    final case class GetValue(replyTo: ActorRef[Int]) extends Command

    def apply(value: Int = 0): Behavior[Command] = Behaviors.receiveMessage {
      case Increment => Counter(value + 1)
      case GetValue(replyTo) =>
        replyTo ! value
        Behaviors.same
    }
  }

  object Greeter {
    final case class Greet(whom: String, replyTo: ActorRef[Greeted])
    final case class Greeted(whom: String)

    def apply(): Behavior[Greet] = Behaviors.receiveMessage { greet =>
      greet.replyTo ! Greeted(greet.whom)
      Behaviors.same
    }
  }

  object Bot {
    def apply(greeter: ActorRef[Greeter.Greet], left: Int, done: ActorRef[String]): Behavior[Greeter.Greeted] =
      Behaviors.setup { context =>
        greeter ! Greeter.Greet("World", context.self)
        waiting(greeter, left, done)
      }

    private def waiting(
        greeter: ActorRef[Greeter.Greet],
        left: Int,
        done: ActorRef[String]): Behavior[Greeter.Greeted] =
      Behaviors.receive { (context, greeted) =>
        done ! s"greeted ${greeted.whom}"
        if (left == 1) Behaviors.stopped
        else {
          greeter ! Greeter.Greet("World", context.self)
          waiting(greeter, left - 1, done)
        }
      }
  }

  def run(kit: ActorTestKit): Unit = {
    val counter = kit.spawn(Counter())
    val value = kit.createTestProbe[Int]()
    for (_ <- 1 to 3) counter ! Counter.Increment
    counter ! Counter.GetValue(value.ref)
    Main.say(s"1 counter: ${value.receiveMessage()}")

    val greeted = kit.createTestProbe[String]()
    val bot = kit.spawn(Bot(kit.spawn(Greeter()), 3, greeted.ref))
    greeted.receiveMessages(3).foreach(line => Main.say(s"1 bot: $line"))
    greeted.expectTerminated(bot)
    Main.say("1 bot: stopped")

    val names = kit.createTestProbe[String]()
    kit.spawn(Behaviors.setup[Greeter.Greet] { context =>
      context.spawn(Greeter(), "twin")
      names.ref ! (try context.spawn(Greeter(), "twin").path.name
      catch { case _: org.apache.pekko.actor.InvalidActorNameException => "refused" })
      Behaviors.empty
    })
    Main.sayDifferent(s"2 a child by a name that is taken is ${names.receiveMessage()}")
  }
}
