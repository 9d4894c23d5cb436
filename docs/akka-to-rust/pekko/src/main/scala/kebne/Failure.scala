package kebne

import scala.concurrent.Await
import scala.concurrent.duration._
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.AskPattern._
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, SupervisorStrategy }
import org.apache.pekko.pattern.StatusReply
import org.apache.pekko.util.Timeout

/** Chapter 4. */
object Failure {
  final case class Withdraw(amount: Int, replyTo: ActorRef[StatusReply[Int]])

  def run(kit: ActorTestKit): Unit = {
    implicit val system: ActorSystem[_] = kit.system
    implicit val timeout: Timeout = 2.seconds
    def account(balance: Int): org.apache.pekko.actor.typed.Behavior[Withdraw] = Behaviors.receiveMessage {
      case Withdraw(13, _) => throw new RuntimeException("a bug")
      case Withdraw(amount, replyTo) if amount > balance =>
        replyTo ! StatusReply.error(s"only $balance left")
        Behaviors.same
      case Withdraw(amount, replyTo) =>
        replyTo ! StatusReply.success(balance - amount)
        account(balance - amount)
    }
    val ref = kit.spawn(Behaviors.supervise(account(100)).onFailure[Exception](SupervisorStrategy.restart))
    def ask(amount: Int): Try[Int] =
      Try(Await.result(ref.askWithStatus[Int](Withdraw(amount, _)), 3.seconds))
    Main.say(s"4 granted: ${ask(40).get}")
    Main.say(s"4 the caller's error: ${ask(101).failed.get.getMessage}")
    Main.say(s"4 after it: ${ask(0).get}")
    val bug = ask(13).failed.get match {
      case _: java.util.concurrent.TimeoutException => "in the dark until its timeout"
      case other                                    => other.toString
    }
    Main.sayDifferent(s"4 who asked for a bug is $bug")
    Main.say(s"4 fresh state: ${ask(0).get}")
  }
}
