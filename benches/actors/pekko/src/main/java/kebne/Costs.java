package kebne;

import com.typesafe.config.ConfigFactory;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.pekko.actor.typed.ActorRef;
import org.apache.pekko.actor.typed.ActorSystem;
import org.apache.pekko.actor.typed.Behavior;
import org.apache.pekko.actor.typed.SpawnProtocol;
import org.apache.pekko.actor.typed.SupervisorStrategy;
import org.apache.pekko.actor.typed.javadsl.ActorContext;
import org.apache.pekko.actor.typed.javadsl.AskPattern;
import org.apache.pekko.actor.typed.javadsl.Behaviors;

/**
 * The actors under measurement, on Pekko: reads the name of a case from each line, and prints what it gave.
 *
 * <p>The numbers of messages are those of cases.rs. All actors share one thread, as on the other sides; the sender is
 * the main thread.
 */
public final class Costs {
    private static final int TELLS = 200_000;
    private static final int BATCH = 1_000;
    private static final int FAR_ASKS = 4_000;
    private static final int SPAWNS = 10_000;
    private static final int CHILDREN = 1_000;
    private static final int HELD = 100_000;
    private static final int UNDER_WAY = 500;
    private static final long WORK_NANOS = 2_000;
    private static final long FLOOD_NANOS = 1_000_000_000L;
    private static final Duration LONG = Duration.ofMinutes(10);
    /** Rounds before the first that counts. */
    private static final int WARM_UP = 15;

    interface Command {}

    record Add(long n) implements Command {}

    record Ask(long n, ActorRef<Long> replyTo) implements Command {}

    record Hello(CountDownLatch latch) implements Command {}

    record Panic() implements Command {}

    record Work() implements Command {}

    private static volatile boolean floods;

    private static Behavior<Command> sum(long sum) {
        return Behaviors.setup(context -> new Sum(context, sum).behavior());
    }

    private static final class Sum {
        private long sum;

        Sum(ActorContext<Command> context, long sum) {
            this.sum = sum;
        }

        Behavior<Command> behavior() {
            return Behaviors.receive(Command.class)
                    .onMessage(Add.class, add -> {
                        sum += add.n();
                        return Behaviors.same();
                    })
                    .onMessage(Ask.class, ask -> {
                        sum += ask.n();
                        ask.replyTo().tell(sum);
                        return Behaviors.same();
                    })
                    .onMessage(Hello.class, hello -> {
                        hello.latch().countDown();
                        return Behaviors.same();
                    })
                    .build();
        }
    }

    private static Behavior<Command> child(CountDownLatch first, CountDownLatch second) {
        Behavior<Command> panics = Behaviors.setup(context -> {
            (first.getCount() > 0 ? first : second).countDown();
            return Behaviors.receive(Command.class)
                    .onMessage(Panic.class, panic -> {
                        throw new IllegalStateException("on purpose");
                    })
                    .build();
        });
        return Behaviors.supervise(panics)
                .onFailure(SupervisorStrategy.restart().withLoggingEnabled(false));
    }

    private static Behavior<Command> parent(CountDownLatch first, CountDownLatch second) {
        return Behaviors.setup(context -> {
            List<ActorRef<Command>> children = new ArrayList<>();
            for (int i = 0; i < CHILDREN; i++) {
                children.add(context.spawnAnonymous(child(first, second)));
            }
            return Behaviors.receive(Command.class)
                    .onMessage(Panic.class, panic -> {
                        children.forEach(child -> child.tell(panic));
                        return Behaviors.same();
                    })
                    .build();
        });
    }

    private static Behavior<Command> flooded() {
        return Behaviors.setup(context -> Behaviors.receive(Command.class)
                .onMessage(Work.class, work -> {
                    long until = System.nanoTime() + WORK_NANOS;
                    while (System.nanoTime() < until) {
                        Thread.onSpinWait();
                    }
                    if (floods) {
                        context.getSelf().tell(work);
                    }
                    return Behaviors.same();
                })
                .build());
    }

    private static ActorSystem<SpawnProtocol.Command> system() {
        String one = "pekko.actor.default-dispatcher { type = Dispatcher, executor = thread-pool-executor,"
                + " thread-pool-executor.fixed-pool-size = 1 }\n"
                + "pekko.actor.internal-dispatcher = pekko.actor.default-dispatcher\n"
                + "pekko.log-dead-letters = off, pekko.coordinated-shutdown.run-by-jvm-shutdown-hook = off";
        return ActorSystem.create(
                SpawnProtocol.create(), "costs", ConfigFactory.parseString(one).withFallback(ConfigFactory.load()));
    }

    private static ActorRef<Command> spawn(ActorSystem<SpawnProtocol.Command> system, Behavior<Command> behavior)
            throws Exception {
        CompletionStage<ActorRef<Command>> spawned = AskPattern.ask(
                system,
                replyTo -> new SpawnProtocol.Spawn<>(
                        behavior, "", org.apache.pekko.actor.typed.Props.empty(), replyTo),
                LONG,
                system.scheduler());
        return spawned.toCompletableFuture().get();
    }

    private static long ask(ActorSystem<?> system, ActorRef<Command> sum) throws Exception {
        CompletionStage<Long> answer =
                AskPattern.ask(sum, (ActorRef<Long> replyTo) -> new Ask(1, replyTo), LONG, system.scheduler());
        return answer.toCompletableFuture().get();
    }

    private static double tell(ActorSystem<SpawnProtocol.Command> system) throws Exception {
        ActorRef<Command> sum = spawn(system, sum(0));
        long start = System.nanoTime();
        for (int batch = 0; batch < TELLS / BATCH; batch++) {
            for (int i = 1; i < BATCH; i++) {
                sum.tell(new Add(1));
            }
            ask(system, sum);
        }
        return (System.nanoTime() - start) / (double) TELLS;
    }

    private static double asks(ActorSystem<SpawnProtocol.Command> system) throws Exception {
        ActorRef<Command> sum = spawn(system, sum(0));
        ask(system, sum);
        long start = System.nanoTime();
        for (int i = 0; i < FAR_ASKS; i++) {
            ask(system, sum);
        }
        return (System.nanoTime() - start) / (double) FAR_ASKS;
    }

    /** Spawns so many actors from within one, and waits until each has handled a message. */
    private static Object crowd(ActorSystem<SpawnProtocol.Command> system, int count) throws Exception {
        CountDownLatch latch = new CountDownLatch(count);
        Behavior<Command> crowd = Behaviors.setup(context -> {
            for (int i = 0; i < count; i++) {
                context.spawnAnonymous(sum(0)).tell(new Hello(latch));
            }
            return Behaviors.empty();
        });
        Object held = spawn(system, crowd);
        latch.await();
        return held;
    }

    private static double spawns(ActorSystem<SpawnProtocol.Command> system) throws Exception {
        long start = System.nanoTime();
        crowd(system, SPAWNS);
        return (System.nanoTime() - start) / (double) SPAWNS;
    }

    private static double storm(ActorSystem<SpawnProtocol.Command> system) throws Exception {
        CountDownLatch first = new CountDownLatch(CHILDREN);
        CountDownLatch second = new CountDownLatch(CHILDREN);
        ActorRef<Command> parent = spawn(system, parent(first, second));
        first.await();
        long start = System.nanoTime();
        parent.tell(new Panic());
        second.await();
        return (System.nanoTime() - start) / (double) CHILDREN;
    }

    private static long used() throws Exception {
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(50);
        }
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    private static double memory(ActorSystem<SpawnProtocol.Command> system) throws Exception {
        long before = used();
        crowd(system, HELD);
        return (used() - before) / (double) HELD;
    }

    private static double flood(ActorSystem<SpawnProtocol.Command> system, int underWay) throws Exception {
        floods = true;
        ActorRef<Command> flooded = spawn(system, flooded());
        ActorRef<Command> sibling = spawn(system, sum(0));
        ask(system, sibling);
        for (int i = 0; i < underWay; i++) {
            flooded.tell(new Work());
        }
        List<Double> answers = new ArrayList<>();
        long started = System.nanoTime();
        while (System.nanoTime() - started < FLOOD_NANOS) {
            long sent = System.nanoTime();
            CompletionStage<Long> answer = AskPattern.ask(
                    sibling, (ActorRef<Long> replyTo) -> new Ask(1, replyTo), LONG, system.scheduler());
            try {
                answer.toCompletableFuture().get(FLOOD_NANOS - (sent - started), TimeUnit.NANOSECONDS);
                answers.add((System.nanoTime() - sent) / 1e6);
                Thread.sleep(1);
            } catch (TimeoutException late) {
                if (sent - started < FLOOD_NANOS / 2) {
                    answers.add(Double.POSITIVE_INFINITY);
                }
                break;
            }
        }
        floods = false;
        double[] sorted = answers.stream().mapToDouble(Double::doubleValue).sorted().toArray();
        return sorted.length == 0 ? Double.POSITIVE_INFINITY : sorted[(sorted.length * 99 + 99) / 100 - 1];
    }

    private static double once(String name) throws Exception {
        ActorSystem<SpawnProtocol.Command> system = system();
        try {
            return switch (name) {
                case "TellFar" -> tell(system);
                case "AskFar" -> asks(system);
                case "Spawn" -> spawns(system);
                case "Storm" -> storm(system);
                case "Memory" -> memory(system);
                case "Calm" -> flood(system, 0);
                case "Flooded" -> flood(system, UNDER_WAY);
                default -> Double.NaN;
            };
        } finally {
            system.terminate();
            system.getWhenTerminated().toCompletableFuture().get();
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<String> warm = Arrays.asList("TellFar", "AskFar", "Spawn", "Storm");
        List<String> warmed = new ArrayList<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String name = lines.readLine(); name != null; name = lines.readLine()) {
            if (warm.contains(name) && !warmed.contains(name)) {
                for (int round = 0; round < WARM_UP; round++) {
                    once(name);
                }
                warmed.add(name);
            }
            double value = once(name);
            String shown = Double.isNaN(value) ? "-" : Double.isInfinite(value) ? "inf" : Double.toString(value);
            System.out.println(shown);
            System.out.flush();
        }
    }
}
