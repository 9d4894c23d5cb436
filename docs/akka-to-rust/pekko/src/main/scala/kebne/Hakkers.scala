package kebne

import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.{ Actor, ActorRef, FSM, Props }

/** Chapter 10. */
object Hakkers {
  case object Take
  case object Put
  final case class Taken(chopstick: ActorRef)
  case object Busy

  class Chopstick extends Actor {
    private var owner: Option[ActorRef] = None

    def receive: Receive = {
      case Take if owner.isEmpty =>
        owner = Some(sender())
        sender() ! Taken(self)
      case Take                            => sender() ! Busy
      case Put if owner.contains(sender()) => owner = None
    }
  }

  sealed trait Mood
  case object Thinking extends Mood
  case object Hungry extends Mood
  case object FirstDenied extends Mood
  case object Holding extends Mood
  case object Eating extends Mood

  class Hakker(left: ActorRef, right: ActorRef, eats: Boolean => Unit) extends FSM[Mood, Option[ActorRef]] {
    startWith(Thinking, None, Some(5.seconds))

    when(Thinking) { case Event(StateTimeout, _) =>
      left ! Take
      right ! Take
      goto(Hungry)
    }
    when(Hungry) {
      case Event(Taken(chopstick), _) => goto(Holding).using(Some(chopstick))
      case Event(Busy, _)             => goto(FirstDenied)
    }
    when(Holding) {
      case Event(Taken(_), _)           => goto(Eating)
      case Event(Busy, Some(chopstick)) => putAndThink(chopstick)
    }
    when(FirstDenied) {
      case Event(Taken(chopstick), _) => putAndThink(chopstick)
      case Event(Busy, _)             => goto(Thinking).forMax(10.millis)
    }
    when(Eating, stateTimeout = 5.seconds) { case Event(StateTimeout, _) =>
      goto(Thinking).using(None).forMax(5.seconds)
    }
    onTransition {
      case _ -> Eating => eats(true)
      case Eating -> _ =>
        eats(false)
        left ! Put
        right ! Put
    }
    initialize()

    private def putAndThink(chopstick: ActorRef) = {
      chopstick ! Put
      goto(Thinking).using(None).forMax(10.millis)
    }
  }

  /** Who eats, and how often each has eaten. */
  class Table {
    private var eating = Set.empty[Int]
    private var meals = Vector.fill(5)(0)
    private var clash = false

    def sits(hakker: Int)(eats: Boolean): Unit = synchronized {
      if (eats) {
        clash ||= eating((hakker + 1) % 5) || eating((hakker + 4) % 5)
        eating += hakker
        meals = meals.updated(hakker, meals(hakker) + 1)
      } else eating -= hakker
    }
    def hungry: Boolean = synchronized(meals.contains(0))
    def clashed: Boolean = synchronized(clash)
  }

  /** Has a timeout of its own in the state `Eating`; in `Thinking` only the one that it starts with. */
  class Timed(first: Mood, timedOut: ActorRef) extends FSM[Mood, Int] {
    startWith(first, 0, if (first == Thinking) Some(5.seconds) else None)
    private val events: StateFunction = {
      case Event("noise", _) => stay()
      case Event(StateTimeout, count) =>
        timedOut ! "timed out"
        stay().using(count + 1)
    }
    when(Thinking)(events)
    when(Eating, stateTimeout = 5.seconds)(events)
    initialize()
  }

  def run(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    val table = new Table
    val chopsticks = Vector.fill(5)(Main.classic(kit, Props(new Chopstick)))
    for (hakker <- 0 until 5)
      Main.classic(kit, Props(new Hakker(chopsticks(hakker), chopsticks((hakker + 1) % 5), table.sits(hakker))))
    var seconds = 0
    while (table.hungry && seconds < 600) {
      time.timePasses(1.second)
      Thread.sleep(20)
      seconds += 1
    }
    Main.say(s"10 every hakker has eaten: ${!table.hungry}")
    Main.say(s"10 neighbours ate at the same time: ${table.clashed}")

    import org.apache.pekko.actor.typed.scaladsl.adapter._
    val timeouts = kit.createTestProbe[Any]()
    def secondsUntilTimeout(first: Mood): Option[Int] = {
      val machine = Main.classic(kit, Props(new Timed(first, timeouts.ref.toClassic)))
      Thread.sleep(300)
      var after: Option[Int] = None
      for (second <- 1 to 12 if after.isEmpty) {
        time.timePasses(1.second)
        if (second == 3) {
          machine ! "noise"
          Thread.sleep(300)
        }
        if (second >= 5 && scala.util.Try(timeouts.receiveMessage(200.millis)).isSuccess) after = Some(second)
      }
      kit.system.toClassic.stop(machine)
      after
    }
    Main.say(s"10 noise after 3 s in a state with a timeout of 5 s: it ends after ${secondsUntilTimeout(Eating).getOrElse(0)} s")
    val bounded = secondsUntilTimeout(Thinking).fold("never")(after => s"after $after s")
    Main.sayDifferent(s"10 noise after 3 s in a state entered for 5 s: it ends $bounded")
  }
}
