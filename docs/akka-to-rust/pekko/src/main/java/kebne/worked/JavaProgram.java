package kebne.worked;

import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.pekko.NotUsed;
import org.apache.pekko.actor.typed.ActorSystem;
import org.apache.pekko.actor.typed.javadsl.Behaviors;
import org.apache.pekko.http.javadsl.Http;
import org.apache.pekko.http.javadsl.model.ContentTypes;
import org.apache.pekko.http.javadsl.model.HttpRequest;
import org.apache.pekko.http.javadsl.unmarshalling.Unmarshaller;
import org.apache.pekko.pattern.Patterns;
import org.apache.pekko.stream.ActorAttributes;
import org.apache.pekko.stream.Supervision;
import org.apache.pekko.stream.javadsl.Sink;
import org.apache.pekko.stream.javadsl.Source;

/** Chapter 9 in Java. */
public final class JavaProgram {
  private final ActorSystem<Void> system;
  private final String modelUrl;

  private JavaProgram(ActorSystem<Void> system, String modelUrl) {
    this.system = system;
    this.modelUrl = modelUrl;
  }

  private CompletionStage<String> callModel(int prompt) {
    var request = HttpRequest.POST(modelUrl)
        .withEntity(ContentTypes.APPLICATION_JSON, "{\"inputs\": \"prompt " + prompt + "\"}");
    return Http.get(system).singleRequest(request).thenCompose(response -> {
      if (response.status().isSuccess()) {
        return Unmarshaller.entityToString().unmarshal(response.entity(), system);
      }
      response.discardEntityBytes(system);
      return CompletableFuture.failedFuture(new IOException(response.status().toString()));
    });
  }

  private static <T> CompletionStage<T> withTimeout(Duration limit, CompletionStage<T> call) {
    var bounded = call.thenApply(answer -> answer).toCompletableFuture();
    return bounded.orTimeout(limit.toMillis(), TimeUnit.MILLISECONDS);
  }

  private CompletionStage<List<String>> answers(List<Integer> prompts) {
    Source<Integer, NotUsed> paced = Source.from(prompts.subList(0, 20))
        .throttle(1, Duration.ofMillis(50))
        .concat(Source.from(prompts.subList(20, 100)).throttle(10, Duration.ofMillis(100)));
    return paced
        .mapAsync(4, prompt -> Patterns.retry(
            () -> withTimeout(Duration.ofMillis(200), callModel(prompt)), 2, Duration.ofMillis(30), system))
        .withAttributes(ActorAttributes.withSupervisionStrategy(Supervision.getResumingDecider()))
        .runWith(Sink.seq(), system);
  }

  public static void main(String[] args) throws Exception {
    ActorSystem<Void> system = ActorSystem.create(Behaviors.empty(), "prompts");
    var program = new JavaProgram(system, args[0] + "/java/models/tiny");
    var prompts = IntStream.range(0, 100).boxed().collect(Collectors.toList());
    long begun = System.nanoTime();
    int answered = program.answers(prompts).toCompletableFuture().get(60, TimeUnit.SECONDS).size();
    System.out.println("worked Java " + answered + " " + (System.nanoTime() - begun) / 1000000);
    system.terminate();
    system.getWhenTerminated().toCompletableFuture().get(60, TimeUnit.SECONDS);
  }
}
