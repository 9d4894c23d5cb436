package kebne

import java.util.concurrent.CountDownLatch

import scala.concurrent.duration._
import scala.util.Try

import com.typesafe.config.{ Config, ConfigFactory }
import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, MailboxSelector }
import org.apache.pekko.dispatch.{ ControlMessage, PriorityGenerator, UnboundedStablePriorityMailbox }

/** Chapter 18. */
object Mailboxes {
  sealed trait Command
  final case class Work(number: Int, priority: Int = 1) extends Command
  final case class Now(number: Int) extends Command with ControlMessage

  class ByPriority(settings: org.apache.pekko.actor.ActorSystem.Settings, config: Config)
      extends UnboundedStablePriorityMailbox(PriorityGenerator {
        case Work(_, priority) => priority
        case _                 => 0
      })

  private val config = ConfigFactory.parseString("""
    by-priority.mailbox-type = "kebne.Mailboxes$ByPriority"
    control-aware.mailbox-type = "org.apache.pekko.dispatch.UnboundedControlAwareMailbox"
  """)

  /** Holds the first message until the gate is open. */
  private def slow(gate: CountDownLatch, done: ActorRef[Int]): Behavior[Command] = Behaviors.receiveMessage { command =>
    gate.await()
    done ! (command match {
      case Work(number, _) => number
      case Now(number)     => number
    })
    Behaviors.same
  }

  def run(): Unit = {
    val kit = ActorTestKit("lab", config.withFallback(ConfigFactory.load()))
    val done = kit.createTestProbe[Int]()

    /** Has an actor begin message 0, tells it more, and returns what it did in the end. */
    def lab(mailbox: MailboxSelector)(tell: ActorRef[Command] => Unit): Seq[Int] = {
      val gate = new CountDownLatch(1)
      val context = kit.spawn(slow(gate, done.ref), mailbox)
      context ! Work(0)
      Thread.sleep(100)
      tell(context)
      gate.countDown()
      Iterator.continually(Try(done.receiveMessage(1.second))).takeWhile(_.isSuccess).map(_.get).toVector
    }

    val lost = kit.createDeadLetterProbe()
    var result: Any = None
    val kept = lab(MailboxSelector.bounded(3)) { worker =>
      for (number <- 1 to 5) result = worker ! Work(number)
    }
    Main.say(s"18 five more for a mailbox of three, handled: ${kept.mkString(" ")}")
    Main.say(s"18 dead letters: ${lost.receiveMessages(2).size}")
    Main.sayDifferent(s"18 the last tell returned: $result")

    val ordered = lab(MailboxSelector.fromConfig("by-priority")) { worker =>
      worker ! Work(1)
      worker ! Work(2, priority = 0)
      worker ! Work(3, priority = 2)
    }
    Main.say(s"18 by priority: ${ordered.mkString(" ")}")
    val controlled = lab(MailboxSelector.fromConfig("control-aware")) { worker =>
      for (number <- 1 to 2) worker ! Work(number)
      worker ! Now(3)
    }
    Main.say(s"18 a control message: ${controlled.mkString(" ")}")

    val all = lab(MailboxSelector.defaultMailbox()) { worker =>
      for (number <- 1 to 5000) worker ! Work(number)
    }
    Main.sayDifferent(s"18 of 5000 tells while it is busy the default mailbox takes: ${all.size - 1}")
    kit.shutdownTestKit()
  }
}
