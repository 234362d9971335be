/* safetensors and JSON: what is written is read back; every kind of damage is one sentence; nothing is half done. */
#include "run_cases.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "runtime_softmax.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

START_TEST(json_values) {
    static const char text[] = " {\"a\\n\\u00e9\" : [1, 2,\t30], \"b\":-1.5e2,\"c\":{\"d\":[true,false,null,\"x\\\"y\"]}} ";
    Json j = json_open(text, sizeof text - 1);
    char key[16];
    int64_t sum = 0, value;
    double number = 0;
    ck_assert(json_begin(&j, '{'));
    ck_assert(json_next(&j, '{', true, key, sizeof key));
    ck_assert_str_eq(key, "a\n\xc3\xa9");
    ck_assert(json_begin(&j, '['));
    for (bool first = true; json_next(&j, '[', first, key, 0); first = false) {
        ck_assert(json_integer(&j, &value));
        sum += value;
    }
    ck_assert_int_eq(sum, 33);
    ck_assert(json_next(&j, '{', false, key, sizeof key) && json_number(&j, &number));
    ck_assert(number == -150);
    ck_assert(json_next(&j, '{', false, key, sizeof key) && json_skip(&j));
    ck_assert(!json_next(&j, '{', false, key, sizeof key) && json_end(&j));
}
END_TEST

static const struct {
    const char *text;
    bool good;
} texts[] = {
    {"null", true},    {"[]", true},          {"{}", true},           {"-0", true},
    {"1.25E+3", true}, {"\"\\u0041\"", true}, {" [ { } ] ", true},    {"", false},
    {"[1,]", false},   {"{\"a\":1,}", false}, {"{\"a\" 1}", false},   {"{a:1}", false},
    {"[1 2]", false},  {"01", false},         {"+1", false},          {"1.", false},
    {".5", false},     {"1e", false},         {"-", false},           {"nul", false},
    {"\"a", false},    {"\"\\x\"", false},    {"\"\\u12g4\"", false}, {"\"\n\"", false},
    {"[", false},      {"]", false},          {"{}{}", false},        {"[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", false},
    {"NaN", false},    {"{\"a\":}", false},   {"[,1]", false},        {"{,}", false},
};

START_TEST(json_strict) {
    size_t length = strlen(texts[_i].text);
    char *exact = malloc(length + 1); /* ASan sees a read behind the end */
    memcpy(exact, texts[_i].text, length);
    Json j = json_open(exact, length);
    ck_assert_msg((json_skip(&j) && json_end(&j)) == texts[_i].good, "%s", texts[_i].text);
    free(exact);
}
END_TEST

START_TEST(round_trip) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "x.safetensors"));
    StOut out = {0};
    StFile file;
    RtError error;
    float *a = st_add(&out, "a", 2, (int64_t[]){2, 3}), back[6];
    for (int i = 0; i < 6; i++) a[i] = (float)i / 7;
    *st_add(&out, "scalar", 0, NULL) = 2.5f;
    st_add(&out, "empty", 2, (int64_t[]){0, 4});
    st_add_metadata(&out, "recipe", "lr = \"%d\"\n\ttab \\ \x01 \xc3\xa9", 3);
    ck_assert_int_eq(st_write(&out, path, &error), RT_OK);
    st_free(&out);
    ck_assert_msg(st_open(path, &file, &error) == RT_OK, "%s", error.text);
    ck_assert_uint_eq(file.ntensors, 3);
    ck_assert_str_eq(file.tensor[0].name, "a");
    ck_assert_str_eq(file.tensor[1].name, "scalar");
    ck_assert_str_eq(st_metadata(&file, "recipe"), "lr = \"3\"\n\ttab \\ \x01 \xc3\xa9");
    ck_assert_ptr_null(st_metadata(&file, "nothing"));
    ck_assert(st_read(&file, st_find(&file, "a"), back));
    for (int i = 0; i < 6; i++) ck_assert(back[i] == (float)i / 7);
    ck_assert(st_read(&file, st_find(&file, "scalar"), back) && back[0] == 2.5f);
    ck_assert_uint_eq((uintptr_t)(file.data - file.bytes) % 8, 0);
    st_close(&file);
    free(path);
    directory_free(directory);
}
END_TEST

/* A file from header text and data. */
static void write_raw(const char *path, const char *header, const void *data, size_t length) {
    size_t size = strlen(header);
    char *bytes = calloc(1, 8 + size + length);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(size >> (8 * i));
    memcpy(bytes + 8, header, size);
    memcpy(bytes + 8 + size, data, length);
    spill(path, bytes, 8 + size + length);
    free(bytes);
}

START_TEST(other_types) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "x.safetensors"));
    /* F16: 1, -2, 65504, smallest subnormal, infinity; BF16: 1, -3.5; F64: 0.1 */
    static const uint16_t words[] = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x3f80, 0xc060};
    static const float expected[] = {1, -2, 65504, 0x1p-24f, INFINITY, 1, -3.5f};
    char data[14 + 8 + 4];
    double tenth = 0.1;
    float out[8];
    StFile file;
    RtError error;
    memcpy(data, words, 14);
    memcpy(data + 14, &tenth, 8);
    write_raw(path,
              "{\"h\":{\"dtype\":\"F16\",\"shape\":[5],\"data_offsets\":[0,10]},\"b\":{\"dtype\":\"BF16\",\"shape\":[2],"
              "\"data_offsets\":[10,14]},\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[14,22]},"
              "\"i\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[22,26]}}",
              data, sizeof data);
    ck_assert_msg(st_open(path, &file, &error) == RT_OK, "%s", error.text);
    ck_assert(st_read(&file, st_find(&file, "h"), out) && st_read(&file, st_find(&file, "b"), out + 5));
    for (int i = 0; i < 7; i++) ck_assert_msg(out[i] == expected[i], "%d: %g", i, (double)out[i]);
    ck_assert(st_read(&file, st_find(&file, "d"), out) && out[0] == 0.1f);
    ck_assert(!st_read(&file, st_find(&file, "i"), out));
    st_close(&file);
    free(path);
    directory_free(directory);
}
END_TEST

static const struct {
    const char *header, *says;
} bad_headers[] = {
    {"[]", "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,4]}}", "'a' do not fit"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[5],\"data_offsets\":[0,2]}}", "'a' do not fit"},
    {"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "'a', goes on behind a zero byte"},
    {"{\"a\":{\"dtype\\u0000\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "says of tensor 'a'"},
    {"{\"__metadata__\":[]}", "metadata"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}", "no JSON object from byte"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} x", "header"},
    {"{\"__metadata__\":{\"k\":1}}", "metadata in its header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", "'a'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "'a'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}",
     "truncated: tensor 'a' ends at byte 20 of the data, but there are 16"},
    {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,18]}}", "truncated: tensor 'a'"},
    {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[9,8]}}", "'a'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,8],\"data_offsets\":[0,0]}}", "'a'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
     "\"data_offsets\":[4,12]}}",
     "'a' and 'b' overlap"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
     "\"data_offsets\":[4,8]}}",
     "two tensors are called 'a'"},
};

/* What netc has no use for, and so does not judge: a file is read for the rest of it. */
START_TEST(legal_and_unneeded) {
    enum { LONG = 100000, PAIRS = 1000 };
    char *directory = directory_new(), *path = strdup(path_in(directory, "x.safetensors")), *header = NULL,
         *text = malloc(LONG + 1);
    size_t length = 0;
    float data[12] = {1, 2, 3, 4}, out[2];
    StFile file;
    RtError error;
    memset(text, 'v', LONG);
    text[LONG] = 0;
    FILE *h = open_memstream(&header, &length);
    fprintf(h, "{\"__metadata__\":{\"%s\":\"%s\",\"zero\":\"a\\u0000b\"", text, text);
    for (int i = 0; i < PAIRS; i++) fprintf(h, ",\"key%d\":\"%d\"", i, i);
    fprintf(h, "},\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", text);
    static const struct {
        const char *dtype, *shape;
        int bytes;
    } others[] = {{"F8_E4M3", "[4]", 4},
                  {"F8_E5M2", "[2,2]", 4},
                  {"U16", "[2]", 4},
                  {"U32", "[]", 4},
                  {"C64", "[0]", 0},
                  {"F4", "[7]", 4},
                  {"F8_E4M3FNUZ", "[7]", 4},
                  {"A type of the future", "[3]", 4},
                  {"BOOL", "[1,1,1,1,1,1,1,1,1,1,1]", 1}};
    for (size_t i = 0, at = 16; i < sizeof others / sizeof *others; at += (size_t)others[i++].bytes)
        fprintf(h,
                ",\"t%zu\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu],\"a member that is of no use to anybody "
                "here\":[{}]}",
                i, others[i].dtype, others[i].shape, at, at + (size_t)others[i].bytes);
    fprintf(h, ",\"\\ud83d\\ude00\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[4,8]}");
    fprintf(h, ",\"\\ud83d\\ude01\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[8,16]}}");
    fclose(h);
    write_raw(path, header, data, sizeof data);
    ck_assert_msg(st_open(path, &file, &error) == RT_OK, "%s", error.text);
    ck_assert_str_eq(st_metadata(&file, text), text);
    ck_assert_str_eq(st_metadata(&file, "key999"), "999");
    ck_assert_ptr_null(st_metadata(&file, "zero"));
    ck_assert(st_find(&file, text) && st_read(&file, st_find(&file, text), out) && out[0] == 1);
    ck_assert(st_read(&file, st_find(&file, "\xf0\x9f\x98\x80"), out) && out[0] == 2);
    ck_assert(st_read(&file, st_find(&file, "\xf0\x9f\x98\x81"), out) && out[0] == 3 && out[1] == 4);
    ck_assert(!st_read(&file, st_find(&file, "t7"), out));
    st_close(&file);
    free(header);
    free(text);
    free(path);
    directory_free(directory);
}
END_TEST

static void refuse(const char *path, RtStatus status, const char *says) {
    StFile file;
    RtError error = {{0}};
    ck_assert_int_eq(st_open(path, &file, &error), status);
    ck_assert_msg(strstr(error.text, path) && strstr(error.text, says), "'%s' is not in '%s'", says, error.text);
    ck_assert_ptr_null(strchr(error.text, '\n'));
    st_close(&file);
}

START_TEST(damaged_headers) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "bad.safetensors"));
    write_raw(path, bad_headers[_i].header, "0123456789abcdef", 16);
    refuse(path, RT_INPUT, bad_headers[_i].says);
    free(path);
    directory_free(directory);
}
END_TEST

START_TEST(damaged_files) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "bad.safetensors"));
    refuse(path, RT_INPUT, "No such file");
    spill(path, "", 0);
    refuse(path, RT_INPUT, "not a safetensors file");
    spill(path, "\x89PNG\r\n\x1a\nwhatever", 16);
    refuse(path, RT_INPUT, "not a safetensors file");
    spill(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refuse(path, RT_INPUT, "not a safetensors file");
    spill(path, "\x00\x01\x00\x00\x00\x00\x00\x00{}", 10);
    refuse(path, RT_INPUT, "truncated");
    remove(path);
    mkdir(path, 0777);
    refuse(path, RT_INPUT, "it is a directory");
    free(path);
    directory_free(directory);
}
END_TEST

/* Every truncation, and every byte changed: a sentence or a correct reading, never a crash; what the sum covers is noticed. */
START_TEST(fuzzed_files) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "x.safetensors"));
    StOut out = {0};
    StFile file;
    RtError error;
    size_t length = 0;
    float *weight = st_add(&out, "weight", 1, (int64_t[]){8});
    for (int i = 0; i < 8; i++) weight[i] = (float)i;
    st_add_metadata(&out, "model", "m");
    ck_assert_int_eq(st_write(&out, path, &error), RT_OK);
    st_free(&out);
    char *good = slurp(path, &length);
    for (size_t cut = 0; cut < length; cut++) {
        spill(path, good, cut);
        if (st_open(path, &file, &error) == RT_OK) ck_abort_msg("a file cut at byte %d of %d was read", (int)cut, (int)length);
        st_close(&file);
        char *same = malloc(cut + !cut); /* exactly as long, so that ASan sees a byte more */
        memcpy(same, good, cut);
        if (st_open_bytes(same, cut, &file, &error) == RT_OK) ck_abort_msg("bytes cut at %d were read", (int)cut);
        st_close(&file);
        free(same);
    }
    ck_assert_int_eq(st_open_bytes(good, length, &file, &error), RT_OK);
    ck_assert_ptr_nonnull(st_find(&file, "weight"));
    st_close(&file);
    for (size_t at = 0; at < length; at++)
        for (int bit = 0; bit < 8; bit++) {
            good[at] = (char)(good[at] ^ 1 << bit);
            spill(path, good, length);
            RtStatus status = st_open(path, &file, &error);
            if (status == RT_OK && at >= length - 32) ck_abort_msg("bit %d of byte %d of the data", bit, (int)at);
            st_close(&file);
            good[at] = (char)(good[at] ^ 1 << bit);
        }
    free(good);
    free(path);
    directory_free(directory);
}
END_TEST

static int entries(const char *directory) {
    char command[128];
    int count = -1;
    snprintf(command, sizeof command, "ls -A %s | wc -l", directory);
    FILE *p = popen(command, "r");
    ck_assert_int_eq(fscanf(p, "%d", &count), 1);
    pclose(p);
    return count;
}

/* A write that fails half way (here by a size limit; a full disk fails the same call) leaves the old file and no other. */
START_TEST(failed_writes) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "x.safetensors"));
    RtError error;
    StOut out = {0};
    size_t before, after;
    spill(path, "old", 3);
    st_add(&out, "a", 1, (int64_t[]){100000});
    memset(out.data, 0, out.length);
    struct rlimit old, small = {65536, 65536};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    rt_install_signal_handlers();
    setrlimit(RLIMIT_FSIZE, &small);
    RtStatus status = st_write(&out, path, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(status, RT_IO);
    ck_assert_msg(strstr(error.text, "File too large") && strstr(error.text, path), "%s", error.text);
    ck_assert_int_eq(entries(directory), 1);
    char *text = slurp(path, &before);
    ck_assert_str_eq(text, "old");
    free(text);
    ck_assert_int_eq(st_write(&out, path, &error), RT_OK);
    free(slurp(path, &after));
    ck_assert_uint_gt(after, 400000);
    ck_assert_int_eq(st_write(&out, "/nonexistent/x.safetensors", &error), RT_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "No such file"));
    mkdir(path_in(directory, "taken"), 0777);
    ck_assert_int_eq(st_write(&out, path_in(directory, "taken"), &error), RT_IO);
    ck_assert_int_eq(entries(directory), 2);
    st_free(&out);
    free(path);
    directory_free(directory);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("safetensors");
    tcase_add_test(cases, json_values);
    tcase_add_loop_test(cases, json_strict, 0, sizeof texts / sizeof *texts);
    tcase_add_test(cases, round_trip);
    tcase_add_test(cases, other_types);
    tcase_add_test(cases, legal_and_unneeded);
    tcase_add_loop_test(cases, damaged_headers, 0, sizeof bad_headers / sizeof *bad_headers);
    tcase_add_test(cases, damaged_files);
    tcase_add_test(cases, fuzzed_files);
    tcase_add_test(cases, failed_writes);
    return run_cases("runtime/safetensors", cases);
}
