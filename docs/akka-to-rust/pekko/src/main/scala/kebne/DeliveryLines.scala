package kebne

import java.util.concurrent.atomic.AtomicInteger

import scala.concurrent.duration._
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.delivery.{ ConsumerController, ProducerController }
import org.apache.pekko.actor.typed.scaladsl.{ ActorContext, Behaviors }
import org.apache.pekko.actor.typed.{ ActorRef, Behavior }

/** Chapter 26. */
object DeliveryLines {
  final case class Order(number: Int)

  object Ledger {
    def apply(controller: ActorRef[ConsumerController.Command[Order]])(books: Int => Boolean): Behavior[Any] =
      Behaviors.setup { context: ActorContext[Any] =>
        controller ! ConsumerController.Start(context.messageAdapter[ConsumerController.Delivery[Order]](identity))
        Behaviors.receiveMessagePartial { case ConsumerController.Delivery(Order(number), confirmTo) =>
          if (books(number)) confirmTo ! ConsumerController.Confirmed
          Behaviors.same
        }
      }
  }

  /** Sends the orders one by one, each when it is asked for one. */
  object Shop {
    def apply(controller: ActorRef[ProducerController.Command[Order]], orders: Int, sent: AtomicInteger): Behavior[Any] =
      Behaviors.setup { context: ActorContext[Any] =>
        controller ! ProducerController.Start(context.messageAdapter[ProducerController.RequestNext[Order]](identity))
        Behaviors.receiveMessagePartial { case next: ProducerController.RequestNext[_] =>
          val sendNextTo = next.sendNextTo.asInstanceOf[ActorRef[Order]]
          if (sent.get < orders) sendNextTo ! Order(sent.incrementAndGet())
          Behaviors.same
        }
      }
  }

  /** Starts both controllers and a shop; returns the consumer's controller. */
  private def pair(kit: ActorTestKit, name: String, orders: Int, sent: AtomicInteger) = {
    val consumer = kit.spawn(ConsumerController[Order](), s"$name-consumer")
    val producer = kit.spawn(ProducerController[Order](name, None), s"$name-producer")
    producer ! ProducerController.RegisterConsumer(consumer)
    kit.spawn(Shop(producer, orders, sent))
    consumer
  }

  def run(kit: ActorTestKit): Unit = {
    val booked = kit.createTestProbe[Int]()
    val orders = pair(kit, "orders", 6, new AtomicInteger)
    kit.spawn(Ledger(orders) { number =>
      booked.ref ! number
      true
    })
    val all = (1 to 6).map(_ => booked.receiveMessage(10.seconds))
    Main.say(s"26 in their order: ${all.mkString(" ")}")

    val begun = kit.createTestProbe[Int]()
    val sent = new AtomicInteger
    val slow = pair(kit, "slow", 1000, sent)
    val keeps = Ledger(slow) { number =>
      begun.ref ! number
      false
    }
    kit.spawn(keeps)
    begun.receiveMessage(10.seconds)
    Thread.sleep(500)
    Main.say(s"26 one that is not confirmed is followed by another: ${Try(begun.receiveMessage(100.millis)).isSuccess}")
    Main.say(s"26 sent and not confirmed: ${sent.get}")
    val next = kit.spawn(keeps)
    Main.say(s"26 the next consumer begins with: ${begun.receiveMessage(10.seconds)}")
    kit.stop(next)
    val outlives = Try(begun.expectTerminated(slow, 3.seconds)).isFailure
    Main.sayDifferent(s"26 the controller outlives a consumer that stops: $outlives")
  }
}
