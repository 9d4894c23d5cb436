package kebne

import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, ChildFailed, SupervisorStrategy, Terminated }

/** Chapter 7. */
object Watch {
  private def work: Behavior[String] = Behaviors.receiveMessage {
    case "stop" => Behaviors.stopped
    case why    => throw new RuntimeException(why)
  }

  /** Cannot live without its worker: it does not handle `Terminated`. */
  private def middle: Behavior[String] = Behaviors.setup { context =>
    val child = context.spawn(work, "work")
    context.watch(child)
    Behaviors.receiveMessage { message =>
      child ! message
      Behaviors.same
    }
  }

  private def boss(heard: ActorRef[String]): Behavior[String] = Behaviors.setup { context =>
    val child = context.spawn(middle, "middle")
    context.watch(child)
    Behaviors
      .receiveMessage[String] { message =>
        child ! message
        Behaviors.same
      }
      .receiveSignal {
        case (_, ChildFailed(ref, _)) =>
          heard ! s"${ref.path.name} failed"
          Behaviors.same
        case (_, Terminated(ref)) =>
          heard ! s"${ref.path.name} stopped"
          Behaviors.same
      }
  }

  /** Tells its watcher something, and stops. */
  private def lastWords(watcher: ActorRef[String]): Behavior[String] = Behaviors.receiveMessage { _ =>
    watcher ! "last words"
    Behaviors.stopped
  }

  private def watcher(heard: ActorRef[String]): Behavior[String] = Behaviors.setup { context =>
    val other = context.spawn(lastWords(context.self), "other")
    context.watch(other)
    Behaviors
      .receiveMessage[String] {
        case "go" =>
          other ! "go"
          // The dead one's messages are here before this one has been handled.
          Thread.sleep(300)
          Behaviors.same
        case words =>
          heard ! words
          Behaviors.same
      }
      .receiveSignal {
        case (_, Terminated(_)) =>
          heard ! "the news"
          Behaviors.same
      }
  }

  def run(kit: ActorTestKit): Unit = {
    val heard = kit.createTestProbe[String]()
    val top = kit.spawn(boss(heard.ref))
    top ! "no more coffee"
    Main.say(s"7 a death pact climbs: ${heard.receiveMessage()}")

    val restarting = kit.spawn(Behaviors.supervise(work).onFailure[Exception](SupervisorStrategy.restart))
    val news = kit.createTestProbe[String]()
    kit.spawn(Behaviors.setup[String] { context =>
      context.watchWith(restarting, "gone")
      Behaviors.receiveMessage { message =>
        news.ref ! message
        Behaviors.same
      }
    })
    restarting ! "fail"
    news.expectNoMessage(200.millis)
    Main.say("7 no news of a restart")
    restarting ! "stop"
    Main.say(s"7 news of a stop: ${news.receiveMessage()}")
    news.expectNoMessage(200.millis)
    Main.say("7 once")
    kit.spawn(Behaviors.setup[String] { context =>
      context.watchWith(restarting, "gone before")
      Behaviors.receiveMessage { message =>
        news.ref ! message
        Behaviors.same
      }
    })
    Main.say(s"7 news of the dead: ${news.receiveMessage()}")

    val twice = kit.createTestProbe[String]()
    val target = kit.spawn(work)
    kit.spawn(Behaviors.setup[String] { context =>
      context.watch(target)
      twice.ref ! (try { context.watchWith(target, "gone"); "counts" }
      catch { case _: IllegalStateException => "is refused" })
      Behaviors.empty
    })
    Main.sayDifferent(s"7 a watchWith after a watch of the same actor ${twice.receiveMessage()}")

    val order = kit.createTestProbe[String]()
    kit.spawn(watcher(order.ref)) ! "go"
    Main.say(s"7 first ${order.receiveMessages(2).mkString(", then ")}")
  }
}
