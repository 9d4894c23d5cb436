package kebne

import scala.util.control.NonFatal

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }

/** Prints what the chapters say of Akka, one line for each fact. `examples/lines.rs` prints what Kebne does. */
object Main {
  def main(args: Array[String]): Unit = {
    val manual = ActorTestKit("manual", ManualTime.config)
    val real = ActorTestKit("real")
    val code =
      try {
        Hello.run(real)
        Failure.run(real)
        Supervision.run(real)
        Backoff.run(manual)
        Watch.run(real)
        StashTimers.run(manual)
        Streams.run(real, manual)
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
}
