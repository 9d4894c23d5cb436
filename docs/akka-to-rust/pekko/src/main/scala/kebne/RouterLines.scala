package kebne

import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, TestProbe }
import org.apache.pekko.actor.typed.receptionist.{ Receptionist, ServiceKey }
import org.apache.pekko.actor.typed.scaladsl.{ Behaviors, Routers }
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, SupervisorStrategy }

/** Chapter 11. */
object RouterLines {
  sealed trait Command
  final case class Work(user: String, replyTo: ActorRef[String]) extends Command
  case object Fail extends Command
  case object End extends Command

  object Worker {
    def apply(): Behavior[Command] = Behaviors.receive {
      case (context, Work(_, replyTo)) =>
        replyTo ! context.self.path.name
        Behaviors.same
      case (_, Fail) => throw new RuntimeException("a bug")
      case (_, End)  => Behaviors.stopped
    }
  }

  private val pool = Routers.pool(poolSize = 4) {
    Behaviors.supervise(Worker()).onFailure[Exception](SupervisorStrategy.restart)
  }
  private val byUser = pool.withConsistentHashingRouting(
    virtualNodesFactor = 10,
    {
      case Work(user, _) => user
      case _             => ""
    })

  private val serviceKey = ServiceKey[Command]("log-worker")
  private val group = Routers.group(serviceKey).withRoundRobinRouting()

  def run(kit: ActorTestKit): Unit = {
    val seen = kit.createTestProbe[String]()
    val router = kit.spawn(pool)
    val names = ask(router, seen, 8)
    Main.say(s"11 in turn: ${names.map(names.distinct.indexOf(_)).mkString(" ")}")
    router ! Fail
    Main.say(s"11 routees after a failure: ${ask(router, seen, 8).distinct.size}")

    Main.say(s"11 routees that meet one user: ${ask(kit.spawn(byUser), seen, 8).distinct.size}")

    for (_ <- 1 to 4) router ! End
    seen.expectTerminated(router, 3.seconds)
    Main.say("11 a pool whose routees have all stopped stops")

    val listed = Vector.fill(2)(kit.spawn(Worker()))
    val registered = kit.createTestProbe[Receptionist.Registered]()
    for (worker <- listed) {
      kit.system.receptionist ! Receptionist.Register(serviceKey, worker, registered.ref)
      registered.receiveMessage()
    }
    val grouped = kit.spawn(group)
    Main.say(s"11 routees of a group: ${ask(grouped, seen, 4).distinct.size}")
    kit.stop(listed.head)
    Thread.sleep(500)
    Main.say(s"11 after one has stopped: ${ask(grouped, seen, 4).distinct.size}")
  }

  /** Asks one after another, and returns who answered. */
  private def ask(router: ActorRef[Command], seen: TestProbe[String], times: Int): Seq[String] =
    (1 to times).map { _ =>
      router ! Work("ann", seen.ref)
      seen.receiveMessage()
    }
}
