package kebne

import java.util.concurrent.atomic.{ AtomicBoolean, AtomicInteger }

import scala.concurrent.duration._
import scala.util.Try

import org.apache.pekko.actor.testkit.typed.scaladsl.ActorTestKit
import org.apache.pekko.actor.typed.delivery.{ ConsumerController, WorkPullingProducerController }
import org.apache.pekko.actor.typed.receptionist.ServiceKey
import org.apache.pekko.actor.typed.scaladsl.{ ActorContext, Behaviors }
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, SupervisorStrategy }

/** Chapter 12. */
object WorkPullingLines {
  final case class Job(number: Int)

  object Worker {
    def apply(key: ServiceKey[ConsumerController.Command[Job]])(work: Int => Boolean): Behavior[Any] =
      Behaviors.setup { context: ActorContext[Any] =>
        val controller = context.spawn(ConsumerController(key), "controller")
        controller ! ConsumerController.Start(context.messageAdapter[ConsumerController.Delivery[Job]](identity))
        Behaviors.receiveMessagePartial { case ConsumerController.Delivery(Job(number), confirmTo) =>
          if (work(number)) confirmTo ! ConsumerController.Confirmed
          Behaviors.same
        }
      }
  }

  /** Sends the jobs one by one, each when it is asked for one. */
  def producer(key: ServiceKey[ConsumerController.Command[Job]], jobs: Int, sent: AtomicInteger): Behavior[Any] =
    Behaviors.setup { context: ActorContext[Any] =>
      val controller = context.spawn(WorkPullingProducerController[Job]("producer", key, None), "controller")
      val adapter = context.messageAdapter[WorkPullingProducerController.RequestNext[Job]](identity)
      controller ! WorkPullingProducerController.Start(adapter)
      Behaviors.receiveMessagePartial { case next: WorkPullingProducerController.RequestNext[_] =>
        val sendNextTo = next.sendNextTo.asInstanceOf[ActorRef[Job]]
        if (sent.get < jobs) sendNextTo ! Job(sent.incrementAndGet())
        Behaviors.same
      }
    }

  def run(kit: ActorTestKit): Unit = {
    val seen = kit.createTestProbe[Int]()
    val sabotage = new AtomicBoolean(true)
    val deliveries = new AtomicInteger
    val convert = ServiceKey[ConsumerController.Command[Job]]("convert")
    val worker = Worker(convert) { number =>
      if (number == 3) {
        deliveries.incrementAndGet()
        if (sabotage.getAndSet(false)) throw new RuntimeException("the worker dies")
      }
      seen.ref ! number
      true
    }
    for (_ <- 1 to 2) kit.spawn(Behaviors.supervise(worker).onFailure[Exception](SupervisorStrategy.restart))
    kit.spawn(producer(convert, 6, new AtomicInteger))
    val done = (1 to 6).map(_ => seen.receiveMessage(10.seconds))
    Main.say(s"12 done though a worker died: ${done.sorted.mkString(" ")}")
    Main.say(s"12 deliveries of the job it died of: ${deliveries.get}")

    val slow = ServiceKey[ConsumerController.Command[Job]]("slow")
    val begun = kit.createTestProbe[Int]()
    kit.spawn(Worker(slow) { number =>
      begun.ref ! number
      false
    })
    val sent = new AtomicInteger
    kit.spawn(producer(slow, 1000, sent))
    begun.receiveMessage(10.seconds)
    Thread.sleep(500)
    Main.say(s"12 a worker that does not confirm begins another: ${Try(begun.receiveMessage(100.millis)).isSuccess}")
    Main.sayDifferent(s"12 jobs that wait behind it, at the worker: ${sent.get - 1}")
  }
}
