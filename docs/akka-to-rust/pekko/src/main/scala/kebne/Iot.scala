package kebne

import scala.concurrent.duration._

import org.apache.pekko.actor.testkit.typed.scaladsl.{ ActorTestKit, ManualTime }
import org.apache.pekko.actor.typed.scaladsl.{ Behaviors, TimerScheduler }
import org.apache.pekko.actor.typed.{ ActorRef, Behavior, Terminated }

/** Chapter 22. */
object Iot {
  object Device {
    sealed trait Command
    final case class Record(value: Double) extends Command
    final case class Read(replyTo: ActorRef[Respond]) extends Command
    case object Hang extends Command
    case object Stop extends Command
    final case class Respond(deviceId: String, value: Option[Double])

    def apply(id: String, last: Option[Double] = None, hangs: Boolean = false): Behavior[Command] =
      Behaviors.receiveMessage {
        case Record(value) => Device(id, Some(value), hangs)
        case Hang          => Device(id, last, hangs = true)
        case Stop          => Behaviors.stopped
        case Read(replyTo) =>
          if (!hangs) replyTo ! Respond(id, last)
          Behaviors.same
      }
  }

  sealed trait Reading
  final case class Temperature(value: Double) extends Reading
  case object NotAvailable extends Reading
  case object DeviceNotAvailable extends Reading
  case object TimedOut extends Reading

  object Query {
    sealed trait Command
    private case object CollectionTimeout extends Command
    private final case class Wrapped(response: Device.Respond) extends Command
    private final case class DeviceTerminated(deviceId: String) extends Command

    def apply(
        devices: Map[String, ActorRef[Device.Command]],
        requester: ActorRef[Map[String, Reading]],
        timeout: FiniteDuration): Behavior[Command] = Behaviors.withTimers { timers =>
      new Query(devices, requester).begin(timers, timeout)
    }
  }

  final class Query(devices: Map[String, ActorRef[Device.Command]], requester: ActorRef[Map[String, Reading]]) {
    import Query._
    private var repliesSoFar = Map.empty[String, Reading]
    private var stillWaiting = devices.keySet

    def begin(timers: TimerScheduler[Command], timeout: FiniteDuration): Behavior[Command] = Behaviors.setup { context =>
      timers.startSingleTimer(CollectionTimeout, timeout)
      val adapter = context.messageAdapter(Wrapped(_))
      for ((id, device) <- devices) {
        context.watchWith(device, DeviceTerminated(id))
        device ! Device.Read(adapter)
      }
      Behaviors.receiveMessage {
        case Wrapped(Device.Respond(id, value)) => replied(id, value.fold[Reading](NotAvailable)(Temperature(_)))
        case DeviceTerminated(id)               => onDeviceTerminated(id)
        case CollectionTimeout =>
          repliesSoFar ++= stillWaiting.map(_ -> TimedOut)
          stillWaiting = Set.empty
          respondWhenAllCollected()
      }
    }

    private def replied(deviceId: String, reading: Reading): Behavior[Command] = {
      repliesSoFar += (deviceId -> reading)
      stillWaiting -= deviceId
      respondWhenAllCollected()
    }

    private def onDeviceTerminated(deviceId: String): Behavior[Command] = {
      if (stillWaiting(deviceId)) {
        repliesSoFar += (deviceId -> DeviceNotAvailable)
        stillWaiting -= deviceId
      }
      respondWhenAllCollected()
    }

    private def respondWhenAllCollected(): Behavior[Command] =
      if (stillWaiting.isEmpty) {
        requester ! repliesSoFar
        Behaviors.stopped
      } else Behaviors.same
  }

  object Group {
    sealed trait Command
    final case class Track(deviceId: String, replyTo: ActorRef[ActorRef[Device.Command]]) extends Command
    final case class ReadAll(timeout: FiniteDuration, replyTo: ActorRef[Map[String, Reading]]) extends Command

    def apply(devices: Map[String, ActorRef[Device.Command]] = Map.empty): Behavior[Command] = Behaviors
      .receive[Command] {
        case (context, Track(id, replyTo)) =>
          val device = devices.getOrElse(id, context.spawn(Device(id), id))
          if (!devices.contains(id)) context.watch(device)
          replyTo ! device
          Group(devices.updated(id, device))
        case (context, ReadAll(timeout, replyTo)) =>
          context.spawnAnonymous(Query(devices, replyTo, timeout))
          Behaviors.same
      }
      .receiveSignal { case (_, Terminated(ref)) => Group(devices.filter(_._2 != ref)) }
  }

  def run(kit: ActorTestKit): Unit = {
    val time = ManualTime()(kit.system)
    val group = kit.spawn(Group(), "kitchen")
    val tracked = kit.createTestProbe[ActorRef[Device.Command]]()
    val readings = kit.createTestProbe[Map[String, Reading]]()
    def track(id: String): ActorRef[Device.Command] = {
      group ! Group.Track(id, tracked.ref)
      tracked.receiveMessage()
    }
    val ids = Seq("fridge", "gone", "kettle", "oven")
    val devices = ids.map(id => id -> track(id)).toMap
    Main.say(s"22 the path of a device: ${devices("oven").path.toStringWithoutAddress.replaceAll(".*/kitchen", "kitchen")}")
    Main.say(s"22 tracked twice it is the same: ${track("oven") == devices("oven")}")
    devices("fridge") ! Device.Record(4.0)
    devices("kettle") ! Device.Hang
    devices("gone") ! Device.Hang
    Thread.sleep(300)
    group ! Group.ReadAll(3.seconds, readings.ref)
    Thread.sleep(300)
    time.timePasses(1.second)
    devices("gone") ! Device.Stop
    Thread.sleep(300)
    time.timePasses(2.seconds)
    val all = readings.receiveMessage()
    for (id <- ids) Main.say(s"22 $id: ${all(id)}")
    group ! Group.ReadAll(1.second, readings.ref)
    Thread.sleep(300)
    time.timePasses(1.second)
    Main.say(s"22 devices that the next query asks: ${readings.receiveMessage().size}")
  }
}
