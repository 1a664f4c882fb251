import java.io.IOException;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;

/**
 * Asks TensorFlow Serving's REST API for the variant of a user, with nothing but the JDK (17 or later):
 *
 * <pre>java Predict.java http://localhost:8501 shop SALT PERCENT USER '{"hour": [9], "item": ["a"], …}' [MILLISECONDS]</pre>
 *
 * The inputs are those of the signature `predict`, column by column. Prints the variant and the server's answer. Where canary
 * fails or is slow, stable answers; a request that is wrong (HTTP 400) is not repeated, unless it is the label that is gone.
 */
public final class Predict {
    private static final BigInteger BUCKETS = BigInteger.valueOf(10_000);

    private Predict() {}

    public static void main(String[] words) throws Exception {
        if (words.length < 6 || words.length > 7) {
            System.err.println("usage: java Predict.java URL MODEL SALT PERCENT USER INPUTS [MILLISECONDS]");
            System.exit(2);
        }
        Duration timeout = Duration.ofMillis(words.length == 7 ? Long.parseLong(words[6]) : 1000);
        String body = "{\"signature_name\": \"predict\", \"inputs\": " + words[5] + "}";
        String variant = variant(words[2], Double.parseDouble(words[3]), words[4]);
        String model = words[0] + "/v1/models/" + words[1];
        HttpClient client = HttpClient.newBuilder().connectTimeout(timeout).build();
        HttpResponse<String> answer = null;
        if (variant.equals("canary")) {
            answer = ask(client, model, "canary", body, timeout.dividedBy(2));
        }
        if (answer == null) {
            answer = ask(client, model, "stable", body, timeout);
        }
        if (answer == null || answer.statusCode() != 200) {
            System.err.println(answer == null ? "no version answered in time" : answer.statusCode() + " " + answer.body());
            System.exit(1);
        }
        System.out.println(variant);
        System.out.println(answer.body());
    }

    /** The same rule as serving/experiment/assignment.py and its SQL. */
    static String variant(String salt, double percent, String user) throws NoSuchAlgorithmException {
        return !user.isEmpty() && bucket(salt, user) < Math.round(percent * 100) ? "canary" : "stable";
    }

    static int bucket(String salt, String user) throws NoSuchAlgorithmException {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest((salt + ":" + user).getBytes(StandardCharsets.UTF_8));
        // 15 hex digits are 60 bits: the first 8 bytes without the last 4 bits.
        byte[] first = java.util.Arrays.copyOf(digest, 8);
        return new BigInteger(1, first).shiftRight(4).mod(BUCKETS).intValue();
    }

    /** Null where another version may do better. */
    private static HttpResponse<String> ask(
            HttpClient client, String model, String label, String body, Duration timeout) throws InterruptedException {
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(model + "/labels/" + label + ":predict"))
                        .timeout(timeout)
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build();
        try {
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            boolean gone = answer.statusCode() == 400 && answer.body().contains("version label");
            return gone || answer.statusCode() == 404 || answer.statusCode() >= 500 ? null : answer;
        } catch (HttpTimeoutException slow) {
            return null;
        } catch (IOException unreachable) {
            System.err.println(label + ": " + unreachable);
            return null;
        }
    }
}
