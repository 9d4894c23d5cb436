package kebne

import scala.concurrent.duration._
import scala.concurrent.{ blocking, Await, ExecutionContext, Future }
import scala.util.control.NonFatal

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.Behaviors
import org.apache.pekko.actor.typed.scaladsl.adapter._
import org.apache.pekko.actor.{ ActorRef, Props }

/** Prints what the chapters say of Akka, one line for each fact. `examples/lines` prints what Kebne does. */
object Main {
  def main(args: Array[String]): Unit = {
    val manual = ActorTestKit("manual", ManualTime.config)
    val real = ActorTestKit("real")
    val code =
      try {
        Hello.run(real)
        Chat.run(real)
        Patterns.run(real)
        Failure.run(real)
        Supervision.run(real)
        Backoff.run(manual)
        Watch.run(real)
        StashTimers.run(manual)
        Streams.run(real, manual)
        Hakkers.run(manual)
        RouterLines.run(real)
        WorkPullingLines.run(real)
        BreakerRetry.run(manual)
        Rate.run(real, manual)
        TestingLines.run(real, manual)
        ShutdownLines.run()
        Carts.run()
        Mailboxes.run()
        Blocking.run()
        Beyond.run(real, manual)
        Moving.run(real)
        Iot.run(manual)
        OperatorLines.run(real)
        Sse.run(real)
        Weather.run(real)
        DeliveryLines.run(real)
        sys.env.get("MODEL_URL").foreach(worked)
        0
      } catch {
        case NonFatal(error) =>
          error.printStackTrace()
          1
      }
    // A system whose clock stands still does not terminate in time.
    Console.flush()
    Runtime.getRuntime.halt(code)
  }

  def say(line: String): Unit = println(line)

  /** Of a line that begins so, the two sides are to print different ends. */
  def sayDifferent(line: String): Unit = println(s"differs: $line")

  /** Runs the worked example in three languages against a model server, each against a model of its own. */
  private def worked(url: String): Unit = {
    val programs = Seq("ScalaProgram", "JavaProgram", "KotlinProgramKt").map { name =>
      val main = Class.forName(s"kebne.worked.$name").getMethod("main", classOf[Array[String]])
      Future(blocking(main.invoke(null, Array(url))))(ExecutionContext.global)
    }
    programs.foreach(Await.result(_, 2.minutes))
  }

  /** Spawns a classic actor. */
  def classic(kit: ActorTestKit, props: Props): ActorRef = {
    val probe = kit.createTestProbe[ActorRef]()
    kit.spawn(Behaviors.setup[Any] { context =>
      probe.ref ! context.actorOf(props)
      Behaviors.empty
    })
    probe.receiveMessage()
  }
}
