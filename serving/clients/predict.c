/* Loads a SavedModel with TensorFlow's C API and prints the click probability of each tf.Example of a TFRecord file.
 *
 *     predict SAVED_MODEL INPUT OUTPUT EXAMPLES.tfrecord
 *     predict models/shop/1763190000 serving_default_examples:0 StatefulPartitionedCall:0 rows.tfrecord
 *
 * INPUT and OUTPUT are the tensors of the signature, which `saved_model_cli show --dir SAVED_MODEL --tag_set serve
 * --signature_def serving_default` names. The file is an uncompressed TFRecord; its checksums are not looked at.
 * docs/serving-clients.md has the line that compiles it. Needs nothing but the C API (tensorflow/c/c_api.h).
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

enum { MAX_EXAMPLE_BYTES = 64 << 20, LENGTH_AND_CRC = 12, CRC = 4 };

typedef struct {
  char **bytes;
  size_t *lengths;
  size_t count;
} Examples;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "predict: %s: %s\n", what, why);
  exit(1);
}

static void *checked(void *memory) {
  if (memory == NULL) fail("memory", "none left");
  return memory;
}

static void check(const TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

/* The length of the next record; 0 at the end of the file. */
static int next_length(FILE *file, const char *path, uint64_t *length) {
  unsigned char head[LENGTH_AND_CRC];
  size_t got = fread(head, 1, sizeof head, file);
  if (got == 0) return 0;
  if (got != sizeof head) fail(path, "the file ends within a record");
  *length = 0;
  for (int byte = 7; byte >= 0; --byte) *length = *length << 8 | head[byte];
  if (*length > MAX_EXAMPLE_BYTES) fail(path, "not an uncompressed TFRecord file, or a record over 64 MiB");
  return 1;
}

static Examples read_examples(const char *path) {
  Examples all = {NULL, NULL, 0};
  char crc[CRC];
  uint64_t length;
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail(path, "cannot be opened");
  while (next_length(file, path, &length)) {
    char *bytes = checked(malloc(length + 1));
    if (fread(bytes, 1, length, file) != length || fread(crc, 1, CRC, file) != CRC)
      fail(path, "the file ends within a record");
    all.bytes = checked(realloc(all.bytes, (all.count + 1) * sizeof *all.bytes));
    all.lengths = checked(realloc(all.lengths, (all.count + 1) * sizeof *all.lengths));
    all.bytes[all.count] = bytes;
    all.lengths[all.count++] = length;
  }
  fclose(file);
  if (all.count == 0) fail(path, "there is no example in it");
  return all;
}

/* `serving_default_examples:0` -> the operation and the number of its output. */
static TF_Output output_named(TF_Graph *graph, const char *name) {
  const char *colon = strrchr(name, ':');
  char operation[512];
  size_t length = colon ? (size_t)(colon - name) : strlen(name);
  if (length >= sizeof operation) fail(name, "the name is too long");
  memcpy(operation, name, length);
  operation[length] = '\0';
  TF_Output found = {TF_GraphOperationByName(graph, operation), colon ? atoi(colon + 1) : 0};
  if (found.oper == NULL) fail(name, "the model has no such tensor");
  if (found.index < 0 || found.index >= TF_OperationNumOutputs(found.oper)) fail(name, "it has fewer outputs");
  return found;
}

static TF_Tensor *strings(const Examples *examples) {
  int64_t rows = (int64_t)examples->count;
  TF_Tensor *tensor = checked(TF_AllocateTensor(TF_STRING, &rows, 1, examples->count * sizeof(TF_TString)));
  TF_TString *cells = TF_TensorData(tensor);
  for (size_t row = 0; row < examples->count; ++row) {
    TF_StringInit(&cells[row]);
    TF_StringCopy(&cells[row], examples->bytes[row], examples->lengths[row]);
  }
  return tensor;
}

int main(int count, char **words) {
  if (count != 5) {
    fprintf(stderr, "usage: predict SAVED_MODEL INPUT OUTPUT EXAMPLES.tfrecord\n");
    return 2;
  }
  Examples examples = read_examples(words[4]);
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, NULL, status);
  check(status, words[1]);

  TF_Output input = output_named(graph, words[2]), output = output_named(graph, words[3]);
  TF_Tensor *given = strings(&examples), *made = NULL;
  TF_SessionRun(session, NULL, &input, &given, 1, &output, &made, 1, NULL, 0, NULL, status);
  check(status, "prediction");
  if (TF_TensorType(made) != TF_FLOAT || TF_TensorElementCount(made) != (int64_t)examples.count)
    fail(words[3], "not one float for each example");
  const float *probabilities = TF_TensorData(made);
  for (size_t row = 0; row < examples.count; ++row) printf("%.9g\n", probabilities[row]);

  TF_DeleteTensor(given);
  TF_DeleteTensor(made);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  for (size_t row = 0; row < examples.count; ++row) free(examples.bytes[row]);
  free(examples.bytes);
  free(examples.lengths);
  return fflush(stdout) == 0 ? 0 : 1;
}
