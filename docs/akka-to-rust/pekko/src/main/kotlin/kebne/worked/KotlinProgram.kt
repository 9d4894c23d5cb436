package kebne.worked

import java.io.IOException
import java.time.Duration
import java.util.concurrent.CompletableFuture
import java.util.concurrent.CompletionStage
import java.util.concurrent.TimeUnit
import org.apache.pekko.actor.typed.ActorSystem
import org.apache.pekko.actor.typed.javadsl.Behaviors
import org.apache.pekko.http.javadsl.Http
import org.apache.pekko.http.javadsl.model.ContentTypes
import org.apache.pekko.http.javadsl.model.HttpRequest
import org.apache.pekko.http.javadsl.unmarshalling.Unmarshaller
import org.apache.pekko.pattern.Patterns
import org.apache.pekko.stream.ActorAttributes
import org.apache.pekko.stream.Supervision
import org.apache.pekko.stream.javadsl.Sink
import org.apache.pekko.stream.javadsl.Source

/** Chapter 9 in Kotlin, by the Java API. */
private class KotlinProgram(private val system: ActorSystem<Void>, private val modelUrl: String) {
    fun callModel(prompt: Int): CompletionStage<String> {
        val request = HttpRequest.POST(modelUrl)
            .withEntity(ContentTypes.APPLICATION_JSON, """{"inputs": "prompt $prompt"}""")
        return Http.get(system).singleRequest(request).thenCompose { response ->
            if (response.status().isSuccess) {
                Unmarshaller.entityToString().unmarshal(response.entity(), system)
            } else {
                response.discardEntityBytes(system)
                CompletableFuture.failedFuture(IOException(response.status().toString()))
            }
        }
    }

    fun <T> withTimeout(limit: Duration, call: CompletionStage<T>): CompletionStage<T> =
        call.thenApply { it }.toCompletableFuture().orTimeout(limit.toMillis(), TimeUnit.MILLISECONDS)

    fun answers(prompts: List<Int>): CompletionStage<List<String>> {
        val paced = Source.from(prompts.take(20)).throttle(1, Duration.ofMillis(50))
            .concat(Source.from(prompts.drop(20)).throttle(10, Duration.ofMillis(100)))
        return paced
            .mapAsync(4) { prompt ->
                Patterns.retry({ withTimeout(Duration.ofMillis(200), callModel(prompt)) }, 2, Duration.ofMillis(30), system)
            }
            .withAttributes(ActorAttributes.withSupervisionStrategy(Supervision.getResumingDecider()))
            .runWith(Sink.seq(), system)
    }
}

fun main(args: Array<String>) {
    val system: ActorSystem<Void> = ActorSystem.create(Behaviors.empty(), "prompts")
    val program = KotlinProgram(system, args[0] + "/kotlin/models/tiny")
    val begun = System.nanoTime()
    val answered = program.answers((0 until 100).toList()).toCompletableFuture().get(60, TimeUnit.SECONDS).size
    println("worked Kotlin $answered ${(System.nanoTime() - begun) / 1000000}")
    system.terminate()
    system.whenTerminated.toCompletableFuture().get(60, TimeUnit.SECONDS)
}
