/* Any text as a file of choices or of --tune: what is read is written to a text that reads back to itself. */
#include "codegen/choice.h"
#include "tests/fuzz/fuzz.h"

static char *written(const ChoiceTable *table) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    FUZZ_CHECK(out);
    choices_write(table, out);
    FUZZ_CHECK(!fclose(out));
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    ChoiceTable *table = choices_new(), *again = choices_new();
    uint32_t bad = 0;
    if (choices_read(table, text, &bad)) {
        char *once = written(table);
        bad = 0;
        FUZZ_CHECK(choices_read(again, once, &bad) && bad == 0 && again->count == table->count);
        char *twice = written(again);
        FUZZ_CHECK(!strcmp(once, twice));
        free(once);
        free(twice);
    }
    choices_free(table);
    choices_free(again);
    free(text);
    return 0;
}
