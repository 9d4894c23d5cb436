package kebne

import scala.concurrent.Await
import scala.concurrent.duration._
import scala.util.{ Failure => Failed, Success, Try }

import com.typesafe.config.ConfigFactory
import org.apache.pekko.Done
import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.AskPattern._
import org.apache.pekko.actor.typed.{ ActorRef, ActorSystem, Behavior, SupervisorStrategy }
import org.apache.pekko.pattern.StatusReply
import org.apache.pekko.persistence.testkit.scaladsl.PersistenceTestKit
import org.apache.pekko.persistence.testkit.{ PersistenceTestKitPlugin, PersistenceTestKitSnapshotPlugin }
import org.apache.pekko.persistence.typed.PersistenceId
import org.apache.pekko.persistence.typed.scaladsl.{ Effect, EventSourcedBehavior, RetentionCriteria }
import org.apache.pekko.util.Timeout

/** Chapter 17. */
object Carts {
  sealed trait Command
  final case class AddItem(item: String, quantity: Int, replyTo: ActorRef[StatusReply[Int]]) extends Command
  final case class Checkout(replyTo: ActorRef[StatusReply[Done]]) extends Command

  sealed trait Event
  final case class ItemAdded(item: String, quantity: Int) extends Event
  case object CheckedOut extends Event

  final case class Cart(items: Map[String, Int], checkedOut: Boolean) {
    def updated(item: String, quantity: Int): Cart =
      copy(items = items.updated(item, items.getOrElse(item, 0) + quantity))
  }

  def apply(cartId: String): Behavior[Command] =
    EventSourcedBehavior
      .withEnforcedReplies[Command, Event, Cart](
        PersistenceId("Cart", cartId),
        emptyState = Cart(Map.empty, checkedOut = false),
        commandHandler = {
          case (cart, AddItem(_, _, replyTo)) if cart.checkedOut =>
            Effect.reply(replyTo)(StatusReply.error("checked out"))
          case (_, AddItem(item, quantity, replyTo)) =>
            Effect.persist(ItemAdded(item, quantity)).thenReply(replyTo)(cart => StatusReply.success(cart.items.values.sum))
          case (cart, Checkout(replyTo)) if cart.items.isEmpty =>
            Effect.reply(replyTo)(StatusReply.error("empty"))
          case (_, Checkout(replyTo)) =>
            Effect.persist(CheckedOut).thenReply(replyTo)(_ => StatusReply.ack())
        },
        eventHandler = {
          case (cart, ItemAdded(item, quantity)) => cart.updated(item, quantity)
          case (cart, CheckedOut)                => cart.copy(checkedOut = true)
        })
      .withRetention(RetentionCriteria.snapshotEvery(numberOfEvents = 100, keepNSnapshots = 3))
      .onPersistFailure(SupervisorStrategy.restartWithBackoff(200.millis, 5.seconds, 0.1))

  def run(): Unit = {
    // The events stay in memory as they are, so that nothing is serialized.
    val plain = ConfigFactory.parseString("""
      pekko.persistence.testkit.events.serialize = off
      pekko.persistence.testkit.snapshots.serialize = off
    """)
    val config = plain
      .withFallback(PersistenceTestKitPlugin.config)
      .withFallback(PersistenceTestKitSnapshotPlugin.config)
      .withFallback(ConfigFactory.load())
    val kit = ActorTestKit("carts", config)
    implicit val system: ActorSystem[_] = kit.system
    implicit val timeout: Timeout = 3.seconds
    def ask[T](cart: ActorRef[Command], command: ActorRef[StatusReply[T]] => Command): Try[T] =
      Try(Await.result(cart.askWithStatus(command), 5.seconds))
    def said[T](answer: Try[T]): String = answer match {
      case Success(value)                                      => value.toString
      case Failed(_: java.util.concurrent.TimeoutException) => "nothing until its timeout"
      case Failed(error)                                       => error.getMessage
    }
    val journal = PersistenceTestKit(system)
    val cart = kit.spawn(Carts("7"))
    Main.say(s"17 the checkout of an empty cart: ${said(ask(cart, Checkout(_)))}")
    Main.say(s"17 two of tea: ${said(ask[Int](cart, AddItem("tea", 2, _)))}")
    journal.failNextPersisted("Cart|7")
    Main.sayDifferent(s"17 whose event cannot be written gets: ${said(ask[Int](cart, AddItem("tea", 1, _)))}")
    Main.say(s"17 one more, behind the recovery: ${said(ask[Int](cart, AddItem("tea", 1, _)))}")
    ask(cart, Checkout(_))
    Main.say(s"17 events in the journal: ${journal.persistedInStorage("Cart|7").size}")
    kit.stop(cart)
    val again = kit.spawn(Carts("7"))
    Main.say(s"17 one more in another life: ${said(ask[Int](again, AddItem("tea", 1, _)))}")
    kit.shutdownTestKit()
  }
}
