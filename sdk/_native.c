/* The fast path in C: what `Fast.plain` (fastpath.py) does to a call, and what it needs for that.
 *
 *     Clock    base of Keeper:  what a row's time is reckoned from
 *     Place    base of Block:   where the next frame goes
 *     Pattern  base of Plan:    the keys and types of a row, and the bytes of the last one that was stored by it
 *     Caller   base of Fast:    number, step and all that a call needs, and `log` for rows
 *     Stepper  base of Steps:   the same with the row that is open, and `log` for calls with a step
 *
 * Python code reads and writes the same fields as attributes, so there is one truth about each, whoever stores a row. The rules:
 *
 * - A call either stores exactly the bytes that Python would have stored (time apart), or it changes nothing and Python is asked.
 *   It is asked about everything unusual: what is not handled here is not an error.
 * - From the first look at the data to the end of the call nothing runs that could run Python code, and the interpreter's lock is
 *   held. So a call is one step to other threads, to signal handlers and to the collector of garbage. Numpy's own conversion
 *   of its scalars is the one piece of foreign code: `busy` and `seq` would tell if it ever came back to us.
 * - Bytes go into a buffer first and into shared memory when they are whole. SIGKILL at any instruction leaves there whole
 *   frames, and at most one that its checksum tells to be none.
 * - The shared memory is held by a buffer export for as long as it may be written: it cannot be unmapped meanwhile.
 *
 * Only the stable ABI of Python 3.11 is used: one file serves that version and all later ones that have the lock.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>
#include <time.h>

#if !defined(__linux__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for Linux on little-endian processors; elsewhere the fast path is Python's"
#endif

#define INTERFACE 3 /* as in native.py; changes with what Python code and this file expect of one another */

/* -- CRC-32, as zlib.crc32 has it ------------------------------------------------------------------------------------------
 *
 * zlib's own takes 130 to 300 ns for a row, since it looks each byte up in tables of 4 KiB and more, which are in no cache after
 * other work. Carry-less multiplication needs no table. It takes 16 bytes at a time; the bytes *before* the data must be zeros,
 * which do not change a checksum that begins with 0, and make up the first piece. The start value is then added into the first
 * four bytes of the data.
 */

#define PAD 16 /* zeros before what is summed */

static uint32_t table[8][256];

static void
make_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
        table[0][byte] = sum;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int row = 1; row < 8; row++)
            table[row][byte] = table[row - 1][byte] >> 8 ^ table[0][table[row - 1][byte] & 0xFF];
}

/* Eight bytes at a time, by tables. */
static uint32_t
crc_by_table(const uint8_t *data, size_t size, uint32_t seed)
{
    uint32_t sum = ~seed;
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + 4, 4);
        low ^= sum;
        sum = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24]
            ^ table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^ table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
    }
    while (size--)
        sum = sum >> 8 ^ table[0][(sum ^ *data++) & 0xFF];
    return ~sum;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* x^n modulo the polynomial, bits mirrored: what a piece is multiplied with to be moved n bits further. */
#define X160 0x1751997D0LL
#define X96 0x0CCAA009ELL
#define X64 0x163CD6124LL
#define POLYNOMIAL 0x1DB710641LL
#define QUOTIENT 0x1F7011641LL /* x^64 divided by it */

/* By carry-less multiplication. PAD bytes before the data are zeros; size >= 4. */
__attribute__((target("pclmul"))) static uint32_t
crc_by_multiplication(uint8_t *data, size_t size, uint32_t seed)
{
    const __m128i fold = _mm_set_epi64x(X96, X160), low = _mm_set_epi32(0, -1, 0, -1);
    const __m128i barrett = _mm_set_epi64x(QUOTIENT, POLYNOMIAL);
    uint32_t first;
    memcpy(&first, data, 4);
    uint32_t seeded = first ^ ~seed;
    memcpy(data, &seeded, 4);
    const uint8_t *at = data - (-size & 15), *end = data + size;
    __m128i sum = _mm_loadu_si128((const __m128i *)at);
    for (at += 16; at < end; at += 16) {
        __m128i moved = _mm_xor_si128(_mm_clmulepi64_si128(sum, fold, 0x00), _mm_clmulepi64_si128(sum, fold, 0x11));
        sum = _mm_xor_si128(moved, _mm_loadu_si128((const __m128i *)at));
    }
    memcpy(data, &first, 4);
    /* 128 bits to 96, to 64, to 32 */
    sum = _mm_xor_si128(_mm_srli_si128(sum, 8), _mm_clmulepi64_si128(sum, fold, 0x10));
    __m128i part = _mm_clmulepi64_si128(_mm_and_si128(sum, low), _mm_cvtsi64_si128(X64), 0x00);
    sum = _mm_xor_si128(_mm_srli_si128(sum, 4), part);
    part = _mm_clmulepi64_si128(_mm_and_si128(sum, low), barrett, 0x10);
    part = _mm_clmulepi64_si128(_mm_and_si128(part, low), barrett, 0x00);
    return ~(uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(_mm_xor_si128(sum, part), 4));
}

static int multiplies;
#define CRC(data, size, seed) (multiplies ? crc_by_multiplication(data, size, seed) : crc_by_table(data, size, seed))
#else
#define CRC(data, size, seed) crc_by_table(data, size, seed)
#endif

/* -- Clock, Place -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    long long clock_offset;
} Clock;

typedef struct {
    PyObject_HEAD
    Py_ssize_t pos;
} Place;

static PyTypeObject *clock_type, *place_type, *pattern_type;

static void
plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef clock_members[] = {
    {"clock_offset", T_LONGLONG, offsetof(Clock, clock_offset), 0, "Wall clock less monotonic clock, in nanoseconds."},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef place_members[] = {
    {"pos", T_PYSSIZET, offsetof(Place, pos), 0, "Where the next frame goes."},
    {NULL, 0, 0, 0, NULL},
};

/* -- Pattern ------------------------------------------------------------------------------------------------------------------- */

enum kind { FLOAT, INT, BOOL, STR, NONE, DICT, TO_FLOAT, TO_INT, TO_BOOL };
static const char kinds[] = "fibsndFIB"; /* the same in Python */

typedef struct {
    PyObject *key;
    PyObject *type; /* of values that are converted: exactly theirs */
    int kind;
    int count; /* of a dict: its keys, which come next; else bytes of its name */
} Item;

typedef struct {
    uint8_t *bytes; /* room for the head of a payload, then its values */
    Py_ssize_t room; /* for the values */
} Buffer;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count; /* of the data's own keys; -1: no layout, which fits no data */
    Item *items;
    Py_ssize_t size; /* of items */
    Py_ssize_t values; /* of the row */
    uint8_t *names; /* of the values, as msgpack, one behind the other */
    Py_ssize_t names_size;
    uint32_t seed, schema;
    int busy; /* whether a call writes into `spare` */
    Buffer kept, spare;
    Py_ssize_t kept_from, kept_size; /* where the payload of the last row is in `kept`; no size: `last` is the last row */
    PyObject *last;
} Pattern;

enum { MAX_PAYLOAD = 60000, MAX_DEPTH = 32, FRONT = 80 }; /* FRONT: PAD, an array's and a map's header, five numbers */

static int
buffer_resize(Buffer *buffer, Py_ssize_t room)
{
    uint8_t *bytes = PyMem_Realloc(buffer->bytes, FRONT + room);
    if (bytes == NULL)
        return -1;
    buffer->bytes = bytes;
    buffer->room = room;
    return 0;
}

static int
pattern_clear(Pattern *self)
{
    self->count = -1;
    Py_ssize_t size = self->size;
    self->size = 0;
    for (Py_ssize_t at = 0; at < size; at++) {
        Py_CLEAR(self->items[at].key);
        Py_CLEAR(self->items[at].type);
    }
    Py_CLEAR(self->last);
    return 0;
}

static int
pattern_traverse(Pattern *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    for (Py_ssize_t at = 0; at < self->size; at++)
        Py_VISIT(self->items[at].type);
    Py_VISIT(self->last);
    return 0;
}

static void
pattern_dealloc(Pattern *self)
{
    PyObject_GC_UnTrack(self);
    pattern_clear(self);
    PyMem_Free(self->items);
    PyMem_Free(self->names);
    PyMem_Free(self->kept.bytes);
    PyMem_Free(self->spare.bytes);
    plain_dealloc((PyObject *)self);
}

static PyObject *
pattern_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(keywords))
{
    Pattern *self = (Pattern *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL)
        self->count = -1;
    return (PyObject *)self;
}

/* lay_out(seed, schema, [(key, kind, type or count, name), ...]): a layout, once. A dict's keys come right behind it. */
static PyObject *
pattern_lay_out(Pattern *self, PyObject *args)
{
    unsigned int seed, schema;
    PyObject *list;
    if (!PyArg_ParseTuple(args, "IIO!", &seed, &schema, &PyList_Type, &list))
        return NULL;
    Py_ssize_t size = PyList_Size(list), left[MAX_DEPTH + 1] = {0};
    int depth = 0;
    if (self->items != NULL || size == 0 || size > MAX_PAYLOAD) {
        PyErr_SetString(PyExc_ValueError, "a layout is given once, and has between 1 and 60,000 items");
        return NULL;
    }
    self->items = PyMem_Calloc(size, sizeof(Item));
    if (self->items == NULL)
        return PyErr_NoMemory();
    Py_ssize_t top = 0, values = 0;
    for (Py_ssize_t at = 0; at < size; at++) {
        Item *item = self->items + at;
        PyObject *key, *what;
        int letter;
        const char *found, *name;
        Py_ssize_t name_size;
        if (!PyArg_ParseTuple(PyList_GetItem(list, at), "UCOy#", &key, &letter, &what, &name, &name_size))
            return NULL;
        found = letter > 0 && letter < 128 ? strchr(kinds, letter) : NULL;
        if (found == NULL) {
            PyErr_Format(PyExc_ValueError, "no such kind: %c", letter);
            return NULL;
        }
        while (depth > 0 && left[depth] == 0)
            depth--;
        left[depth]--;
        top += depth == 0;
        item->kind = (int)(found - kinds);
        if (item->kind == DICT) {
            long count = PyLong_AsLong(what);
            if (count < 1 || count >= size - at || depth == MAX_DEPTH) {
                if (!PyErr_Occurred())
                    PyErr_SetString(PyExc_ValueError, "a dict in a layout must be followed by its keys");
                return NULL;
            }
            item->count = (int)count;
            left[++depth] = count;
        }
        else {
            if (self->names_size + name_size > MAX_PAYLOAD) {
                PyErr_SetString(PyExc_ValueError, "the names of a layout have more than 60,000 bytes");
                return NULL;
            }
            uint8_t *names = PyMem_Realloc(self->names, self->names_size + name_size);
            if (names == NULL)
                return PyErr_NoMemory();
            memcpy(names + self->names_size, name, (size_t)name_size);
            self->names = names;
            self->names_size += name_size;
            item->count = (int)name_size;
            values++;
        }
        item->key = Py_NewRef(key);
        item->type = Py_NewRef(what);
        self->size = at + 1;
    }
    for (; depth > 0; depth--)
        if (left[depth] != 0) {
            PyErr_SetString(PyExc_ValueError, "a dict in a layout must be followed by its keys");
            return NULL;
        }
    Py_ssize_t room = 9 * values + 32;
    if (buffer_resize(&self->kept, room) < 0 || buffer_resize(&self->spare, room) < 0)
        return PyErr_NoMemory();
    self->seed = seed;
    self->schema = schema;
    self->values = values;
    self->count = top; /* last: from here on it may be used */
    Py_RETURN_NONE;
}

static PyObject *encode_payload, *decode_payload; /* of frame.py: msgspec's, which run no Python code */

/* The last row, read out of its bytes when somebody asks. */
static PyObject *
pattern_last(Pattern *self, void *Py_UNUSED(closure))
{
    if (self->kept_size > 0) {
        PyObject *bytes = PyBytes_FromStringAndSize((char *)self->kept.bytes + self->kept_from, self->kept_size);
        PyObject *row = bytes == NULL ? NULL : PyObject_CallFunctionObjArgs(decode_payload, bytes, NULL);
        Py_XDECREF(bytes);
        return row;
    }
    return Py_NewRef(self->last == NULL ? Py_None : self->last);
}

static int
pattern_set_last(Pattern *self, PyObject *row, void *Py_UNUSED(closure))
{
    PyObject *old = self->last;
    self->kept_size = 0;
    self->last = Py_XNewRef(row);
    Py_XDECREF(old);
    return 0;
}

static PyMethodDef pattern_methods[] = {
    {"lay_out", (PyCFunction)pattern_lay_out, METH_VARARGS, "Say what rows look like."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pattern_getset[] = {
    {"last", (getter)pattern_last, (setter)pattern_set_last, "The last row, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* -- msgpack, as msgspec writes it ----------------------------------------------------------------------------------------------- */

static inline uint8_t *
put(uint8_t *at, uint8_t first, uint64_t number, int bytes)
{
    number = __builtin_bswap64(number << (64 - 8 * bytes));
    *at = first;
    memcpy(at + 1, &number, 8); /* what is too much is written over by what comes next: there is room for 9 bytes */
    return at + 1 + bytes;
}

static inline uint8_t *
put_unsigned(uint8_t *at, uint64_t number)
{
    if (number < 0x80) {
        *at = (uint8_t)number;
        return at + 1;
    }
    if (number <= 0xFF)
        return put(at, 0xCC, number, 1);
    if (number <= 0xFFFF)
        return put(at, 0xCD, number, 2);
    if (number <= 0xFFFFFFFF)
        return put(at, 0xCE, number, 4);
    return put(at, 0xCF, number, 8);
}

static inline uint8_t *
put_int(uint8_t *at, long long number)
{
    if (number >= 0)
        return put_unsigned(at, (uint64_t)number);
    if (number >= -32) {
        *at = (uint8_t)number;
        return at + 1;
    }
    if (number >= INT8_MIN)
        return put(at, 0xD0, (uint64_t)number, 1);
    if (number >= INT16_MIN)
        return put(at, 0xD1, (uint64_t)number, 2);
    if (number >= INT32_MIN)
        return put(at, 0xD2, (uint64_t)number, 4);
    return put(at, 0xD3, (uint64_t)number, 8);
}

static inline uint8_t *
put_float(uint8_t *at, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, 8);
    return put(at, 0xCB, bits, 8);
}

typedef struct {
    Pattern *plan;
    const Item *next;
    uint8_t *at, *end;
    uint8_t *map; /* where names and values go as well, or NULL */
    const uint8_t *names;
    int other_keys; /* whether it failed by the keys, or their order */
} Row;

/* There is no room in the buffer: have more of it the next time. */
static int
too_long(Pattern *plan)
{
    if (plan->spare.room < MAX_PAYLOAD)
        buffer_resize(&plan->spare, plan->spare.room * 2);
    return 0;
}

static int
put_text(Row *row, PyObject *value)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text == NULL) { /* half of a surrogate pair */
        PyErr_Clear();
        return 0;
    }
    if (row->end - row->at < size + 9)
        return too_long(row->plan);
    if (size < 32)
        *row->at++ = (uint8_t)(0xA0 | size);
    else if (size <= 0xFF)
        row->at = put(row->at, 0xD9, (uint64_t)size, 1);
    else if (size <= 0xFFFF)
        row->at = put(row->at, 0xDA, (uint64_t)size, 2);
    else
        return 0;
    memcpy(row->at, text, (size_t)size);
    row->at += size;
    return 1;
}

/* A numpy scalar. Its conversion is numpy's own code, which runs no Python. */
static int
put_converted(Row *row, const Item *item, PyObject *value)
{
    int done = 0;
    if ((PyObject *)Py_TYPE(value) != item->type)
        return 0;
    Py_INCREF(value);
    if (item->kind == TO_FLOAT) {
        double number = PyFloat_AsDouble(value);
        done = number != -1.0 || !PyErr_Occurred();
        if (done)
            row->at = put_float(row->at, number);
    }
    else if (item->kind == TO_INT) {
        PyObject *whole = PyNumber_Index(value);
        int overflow = 0;
        long long number = whole == NULL ? -1 : PyLong_AsLongLongAndOverflow(whole, &overflow);
        done = whole != NULL && !overflow && (number != -1 || !PyErr_Occurred());
        Py_XDECREF(whole);
        if (done)
            row->at = put_int(row->at, number);
    }
    else {
        int truth = PyObject_IsTrue(value);
        done = truth >= 0;
        if (done)
            *row->at++ = truth ? 0xC3 : 0xC2;
    }
    Py_DECREF(value);
    if (!done)
        PyErr_Clear();
    return done;
}

static int put_dict(Row *row, PyObject *data, Py_ssize_t count);

/* One value behind the others; whether it is as its item has it. */
static inline int
put_value(Row *row, PyObject *value)
{
    const Item *item = row->next++;
    PyTypeObject *type = Py_TYPE(value);
    int overflow;
    long long number;
    if (row->end - row->at < 9)
        return too_long(row->plan);
    switch (item->kind) {
    case FLOAT:
        if (type != &PyFloat_Type)
            return 0;
        row->at = put_float(row->at, PyFloat_AsDouble(value));
        return 1;
    case INT:
        if (type != &PyLong_Type)
            return 0;
        number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow)
            return 0;
        row->at = put_int(row->at, number);
        return 1;
    case BOOL:
        if (type != &PyBool_Type)
            return 0;
        *row->at++ = value == Py_True ? 0xC3 : 0xC2;
        return 1;
    case NONE:
        if (value != Py_None)
            return 0;
        *row->at++ = 0xC0;
        return 1;
    case STR:
        return type == &PyUnicode_Type && put_text(row, value);
    case DICT:
        return type == &PyDict_Type && PyDict_Size(value) == item->count && put_dict(row, value, item->count);
    default:
        return put_converted(row, item, value);
    }
}

/* The values of a dict whose keys stand in the order of the items. Keys are mostly the same objects each time. */
static int
put_dict(Row *row, PyObject *data, Py_ssize_t count)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (count-- > 0) {
        if (!PyDict_Next(data, &at, &key, &value))
            return 0;
        if (key != row->next->key
            && (!PyUnicode_CheckExact(key) || !PyUnicode_CheckExact(row->next->key)
                || PyUnicode_Compare(key, row->next->key) != 0)) {
            row->other_keys = 1;
            return 0;
        }
        const Item *item = row->next;
        uint8_t *before = row->at;
        if (!put_value(row, value))
            return 0;
        if (row->map != NULL && item->kind != DICT) {
            memcpy(row->map, row->names, (size_t)item->count);
            memcpy(row->map + item->count, before, (size_t)(row->at - before));
            row->map += item->count + (row->at - before);
            row->names += item->count;
        }
    }
    return 1;
}

/* The same for the data itself, whose keys may come in any order. */
static int
put_data(Row *row, PyObject *data)
{
    Pattern *plan = row->plan;
    uint8_t *began = row->at;
    if (put_dict(row, data, plan->count))
        return 1;
    if (!row->other_keys)
        return 0;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(data, &at, &key, &value))
        if (!PyUnicode_CheckExact(key)) /* to compare it might run Python code */
            return 0;
    row->at = began;
    row->next = plan->items;
    for (Py_ssize_t left = plan->count; left > 0; left--) {
        value = PyDict_GetItemWithError(data, row->next->key);
        if (value == NULL || !put_value(row, value))
            return 0;
    }
    return 1;
}

/* -- Caller -------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    long long seq, shift, began;
    Py_ssize_t end;
    uint8_t *memory;
    Pattern *plan;
    Place *block;
    Clock *writer;
    PyObject *modules;
    Py_buffer view;
} Caller;

static PyObject *trace_module, *plain_name;

enum { ROW = 2, PART = 4, FRAME_HEADER = 16 }; /* see frame.py */

/* Whether a call with this data may be stored here; if so, its time and the microseconds since the run began. */
static int
begin(Caller *self, PyObject *data, uint64_t *time_ns, uint64_t *runtime_us)
{
    Pattern *plan = self->plan;
    if (plan == NULL || self->memory == NULL || plan->busy || PyDict_Size(data) != plan->count)
        return 0;
    if (PyDict_GetItemWithError(self->modules, trace_module) != NULL || PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    struct timespec clock;
    long long now, time, runtime;
    clock_gettime(CLOCK_MONOTONIC, &clock); /* that of time.monotonic_ns() */
    now = clock.tv_sec * 1000000000LL + clock.tv_nsec;
    if (__builtin_add_overflow(now, self->writer->clock_offset, &time) || time < 0
        || __builtin_sub_overflow(now, self->began, &runtime) || runtime < 0 || self->seq < 0)
        return 0;
    *time_ns = (uint64_t)time;
    *runtime_us = (uint64_t)runtime / 1000;
    return 1;
}

static inline uint8_t *
put_array_size(uint8_t *at, Py_ssize_t size)
{
    if (size >= 16)
        return put(at, 0xDC, (uint64_t)size, 2);
    *at = (uint8_t)(0x90 | size);
    return at + 1;
}

/* Put a head right before the values of a buffer, and PAD zeros before that; where the payload begins. */
static uint8_t *
put_head(Buffer *buffer, const uint8_t *head, const uint8_t *head_end)
{
    uint8_t *payload = buffer->bytes + FRONT - (head_end - head);
    memset(payload - PAD, 0, PAD);
    memcpy(payload, head, (size_t)(head_end - head));
    return payload;
}

/* The same for a row's. */
static uint8_t *
put_row_head(Buffer *buffer, Py_ssize_t values, long long seq, uint64_t time_ns, uint64_t runtime_us, long long step)
{
    uint8_t head[FRONT], *at = put_array_size(head, values + 4);
    at = put_unsigned(at, (uint64_t)seq);
    at = put_unsigned(at, time_ns);
    at = put_unsigned(at, runtime_us);
    at = put_unsigned(at, (uint64_t)step);
    return put_head(buffer, head, at);
}

static uint8_t *
put_frame(uint8_t *at, int kind, uint8_t *payload, Py_ssize_t size, uint32_t seed, uint32_t schema)
{
    uint32_t start = 'M' | 'P' << 8 | (uint32_t)kind << 16 | 1 << 24;
    uint32_t header[4] = {start, (uint32_t)size, CRC(payload, (size_t)size, seed), schema};
    memcpy(at + FRAME_HEADER, payload, (size_t)size);
    memcpy(at, header, FRAME_HEADER);
    return at + FRAME_HEADER + size;
}

/* Where frames of so many bytes go, or NULL when they do not fit or somebody stored something meanwhile. */
static uint8_t *
room_for(Caller *self, Py_ssize_t size, long long seq)
{
    Py_ssize_t pos = self->block->pos;
    if (self->memory == NULL || self->seq != seq || pos < 0 || pos > self->end || self->end - pos < size || self->end > self->view.len)
        return NULL;
    return self->memory + pos;
}

static int
store(Caller *self, PyObject *data)
{
    Pattern *plan = self->plan;
    uint64_t time_ns, runtime_us;
    long long seq = self->seq, step;
    if (!begin(self, data, &time_ns, &runtime_us) || __builtin_add_overflow(seq, self->shift, &step) || step < 0)
        return 0;
    uint8_t *values = plan->spare.bytes + FRONT;
    Row row = {plan, plan->items, values, values + plan->spare.room, NULL, NULL, 0};
    plan->busy = 1;
    int done = put_data(&row, data);
    plan->busy = 0;
    if (!done)
        return 0;
    uint8_t *payload = put_row_head(&plan->spare, plan->values, seq, time_ns, runtime_us, step);
    Py_ssize_t size = row.at - payload;
    uint8_t *place = size > MAX_PAYLOAD ? NULL : room_for(self, FRAME_HEADER + size, seq);
    if (place == NULL)
        return 0;
    self->block->pos = put_frame(place, ROW, payload, size, plan->seed, plan->schema) - self->memory;
    self->seq = seq + 1;
    Buffer stored = plan->spare;
    plan->spare = plan->kept;
    plan->kept = stored;
    plan->kept_from = payload - stored.bytes;
    plan->kept_size = size;
    return 1;
}

/* log(data, step): store a call as a row; whether that was done. What is not done here, `plain` does. */
static PyObject *
caller_log(Caller *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "log() takes data and step");
        return NULL;
    }
    Pattern *plan = (Pattern *)Py_XNewRef((PyObject *)self->plan);
    int done = args[1] == Py_None && PyDict_CheckExact(args[0]) && store(self, args[0]);
    Py_XDECREF((PyObject *)plan);
    if (done)
        Py_RETURN_TRUE;
    return PyObject_CallMethodObjArgs((PyObject *)self, plain_name, args[0], args[1], NULL);
}

/* bind(writer, block, buffer, modules): where rows go from now on. */
static PyObject *
caller_bind(Caller *self, PyObject *args)
{
    PyObject *writer, *block, *buffer, *modules;
    if (!PyArg_ParseTuple(
            args, "O!O!OO!", clock_type, &writer, place_type, &block, &buffer, &PyDict_Type, &modules))
        return NULL;
    if (self->block != NULL) {
        PyErr_SetString(PyExc_ValueError, "bound already");
        return NULL;
    }
    if (PyObject_GetBuffer(buffer, &self->view, PyBUF_WRITABLE) < 0)
        return NULL;
    self->writer = (Clock *)Py_NewRef(writer);
    self->block = (Place *)Py_NewRef(block);
    self->modules = Py_NewRef(modules);
    self->memory = self->view.buf; /* last: without it nothing is stored */
    Py_RETURN_NONE;
}

/* Nothing is stored any more, and the memory may be unmapped. */
static void
unmap(Caller *self)
{
    if (self->memory != NULL) {
        self->memory = NULL;
        PyBuffer_Release(&self->view);
    }
}

static PyObject *
caller_release(Caller *self, PyObject *Py_UNUSED(args))
{
    unmap(self);
    Py_RETURN_NONE;
}

static PyObject *
caller_plan(Caller *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->plan == NULL ? Py_None : (PyObject *)self->plan);
}

static int
caller_set_plan(Caller *self, PyObject *plan, void *Py_UNUSED(closure))
{
    if (plan == NULL || !PyObject_TypeCheck(plan, pattern_type)) {
        PyErr_SetString(PyExc_TypeError, "plan must be a Pattern");
        return -1;
    }
    PyObject *old = (PyObject *)self->plan;
    self->plan = (Pattern *)Py_NewRef(plan);
    Py_XDECREF(old);
    return 0;
}

static int
caller_clear(Caller *self)
{
    unmap(self);
    Py_CLEAR(self->plan);
    Py_CLEAR(self->block);
    Py_CLEAR(self->writer);
    Py_CLEAR(self->modules);
    return 0;
}

static int
caller_traverse(Caller *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->view.obj);
    Py_VISIT(self->plan);
    Py_VISIT(self->block);
    Py_VISIT(self->writer);
    Py_VISIT(self->modules);
    return 0;
}

static void
caller_dealloc(Caller *self)
{
    PyObject_GC_UnTrack(self);
    caller_clear(self);
    plain_dealloc((PyObject *)self);
}

static PyMemberDef caller_members[] = {
    {"seq", T_LONGLONG, offsetof(Caller, seq), 0, "The number of the next row."},
    {"shift", T_LONGLONG, offsetof(Caller, shift), 0, "The step of the next row, less its number."},
    {"began", T_LONGLONG, offsetof(Caller, began), 0, "When the run began, on the monotonic clock."},
    {"end", T_PYSSIZET, offsetof(Caller, end), 0, "The size of the block; 0: nothing is stored any more."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef caller_methods[] = {
    {"bind", (PyCFunction)caller_bind, METH_VARARGS, "Say where rows go."},
    {"log", (PyCFunction)(void (*)(void))caller_log, METH_FASTCALL, "Store a call as a row; whether that was done."},
    {"release", (PyCFunction)caller_release, METH_NOARGS, "Let go of the memory that rows went into."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef caller_getset[] = {
    {"plan", (getter)caller_plan, (setter)caller_set_plan, "The plan that is expected.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* -- Stepper ------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    Caller base;
    long long at, parts;
    unsigned int part_seed;
    PyObject *row; /* the open row as Python has it; or NULL, and it is in `open`: */
    Buffer open;
    Py_ssize_t open_size; /* of its values */
    uint64_t time_ns, runtime_us;
    Buffer part;
} Stepper;

/* Take over a row that Python opened: its values as bytes, and its times. To encode it makes objects, so the collector of garbage,
 * and with it anybody's code, may run before that is done: then nothing is taken over. */
static int
take_over(Stepper *self)
{
    long long numbers[4], seq = self->base.seq;
    uint8_t head[FRONT], *at = head;
    PyObject *row = self->row;
    if (row == NULL)
        return self->open.bytes != NULL;
    if (!PyList_CheckExact(row) || PyList_Size(row) != self->base.plan->values + 4)
        return 0;
    at = put_array_size(at, PyList_Size(row));
    for (int which = 0; which < 4; which++) {
        numbers[which] = PyLong_AsLongLong(PyList_GetItem(row, which));
        if (numbers[which] < 0) { /* or it does not fit */
            PyErr_Clear();
            return 0;
        }
        at = put_unsigned(at, (uint64_t)numbers[which]);
    }
    Py_INCREF(row);
    PyObject *bytes = PyObject_CallFunctionObjArgs(encode_payload, row, NULL);
    Py_ssize_t size = bytes == NULL ? -1 : PyBytes_Size(bytes) - (at - head), room = 9 * (PyList_Size(row) - 4) + 32;
    int done = size >= 0 && self->row == row && self->base.seq == seq
        && (self->open.room >= size || buffer_resize(&self->open, size > room ? size : room) == 0);
    if (done) {
        memcpy(self->open.bytes + FRONT, PyBytes_AsString(bytes) + (at - head), (size_t)size);
        self->open_size = size;
        self->time_ns = (uint64_t)numbers[1];
        self->runtime_us = (uint64_t)numbers[2];
        Py_CLEAR(self->row);
    }
    PyErr_Clear();
    Py_DECREF(row);
    Py_XDECREF(bytes);
    return done;
}

/* Store the open row and, as a part, the one that this call opens. */
static int
store_step(Stepper *self, PyObject *data, PyObject *number)
{
    Caller *base = &self->base;
    Pattern *plan = base->plan;
    int overflow;
    long long seq = base->seq, parts = self->parts, step = PyLong_AsLongLongAndOverflow(number, &overflow);
    uint64_t time_ns, runtime_us;
    if (overflow || step <= self->at || parts < 0 || !begin(base, data, &time_ns, &runtime_us) || !take_over(self))
        return 0;
    Py_ssize_t names_and_values = plan->names_size + plan->spare.room;
    if (self->part.room < names_and_values && buffer_resize(&self->part, names_and_values) < 0)
        return 0;
    uint8_t *values = plan->spare.bytes + FRONT, *map = self->part.bytes + FRONT;
    Row row = {plan, plan->items, values, values + plan->spare.room, map, plan->names, 0};
    plan->busy = 1;
    int done = put_dict(&row, data, plan->count);
    plan->busy = 0;
    if (!done)
        return 0;
    uint8_t head[FRONT], *at = head;
    *at++ = 0x96;
    at = put_unsigned(at, (uint64_t)seq + 1);
    at = put_unsigned(at, (uint64_t)parts);
    at = put_unsigned(at, time_ns);
    at = put_unsigned(at, runtime_us);
    at = put_unsigned(at, (uint64_t)step);
    if (plan->values < 16)
        *at++ = (uint8_t)(0x80 | plan->values);
    else
        at = put(at, 0xDE, (uint64_t)plan->values, 2);
    uint8_t *part = put_head(&self->part, head, at);
    uint8_t *closed = put_row_head(&self->open, plan->values, seq, self->time_ns, self->runtime_us, self->at);
    Py_ssize_t part_size = row.map - part, closed_size = self->open.bytes + FRONT + self->open_size - closed;
    uint8_t *place = room_for(base, 2 * FRAME_HEADER + part_size + closed_size, seq);
    if (place == NULL || self->parts != parts)
        return 0;
    place = put_frame(place, ROW, closed, closed_size, plan->seed, plan->schema);
    base->block->pos = put_frame(place, PART, part, part_size, self->part_seed, 0) - base->memory;
    base->seq = seq + 1;
    self->parts = parts + 1;
    self->at = step;
    Buffer stored = self->open;
    self->open = plan->spare;
    plan->spare = plan->kept;
    plan->kept = stored;
    plan->kept_from = closed - stored.bytes;
    plan->kept_size = closed_size;
    self->open_size = row.at - values;
    self->time_ns = time_ns;
    self->runtime_us = runtime_us;
    return 1;
}

static PyObject *
stepper_log(Stepper *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "log() takes data and step");
        return NULL;
    }
    Pattern *plan = (Pattern *)Py_XNewRef((PyObject *)self->base.plan);
    int done = PyLong_CheckExact(args[1]) && PyDict_CheckExact(args[0]) && store_step(self, args[0], args[1]);
    Py_XDECREF((PyObject *)plan);
    if (done)
        Py_RETURN_TRUE;
    return PyObject_CallMethodObjArgs((PyObject *)self, plain_name, args[0], args[1], NULL);
}

/* The open row, [number to be filled in, time_ns, runtime_us, step, value, ...]. */
static PyObject *
stepper_row(Stepper *self, void *Py_UNUSED(closure))
{
    if (self->row != NULL || self->open.bytes == NULL || self->base.plan == NULL)
        return Py_NewRef(self->row == NULL ? Py_None : self->row);
    Py_ssize_t values = self->base.plan->values;
    uint8_t *payload = put_row_head(&self->open, values, 0, self->time_ns, self->runtime_us, self->at);
    PyObject *bytes = PyBytes_FromStringAndSize((char *)payload, self->open.bytes + FRONT + self->open_size - payload);
    PyObject *row = bytes == NULL ? NULL : PyObject_CallFunctionObjArgs(decode_payload, bytes, NULL);
    Py_XDECREF(bytes);
    return row;
}

static int
stepper_set_row(Stepper *self, PyObject *row, void *Py_UNUSED(closure))
{
    PyObject *old = self->row;
    self->row = Py_XNewRef(row);
    Py_XDECREF(old);
    return 0;
}

static int
stepper_clear(Stepper *self)
{
    Py_CLEAR(self->row);
    return caller_clear(&self->base);
}

static int
stepper_traverse(Stepper *self, visitproc visit, void *arg)
{
    Py_VISIT(self->row);
    return caller_traverse(&self->base, visit, arg);
}

static void
stepper_dealloc(Stepper *self)
{
    PyObject_GC_UnTrack(self);
    stepper_clear(self);
    PyMem_Free(self->open.bytes);
    PyMem_Free(self->part.bytes);
    plain_dealloc((PyObject *)self);
}

static PyMemberDef stepper_members[] = {
    {"at", T_LONGLONG, offsetof(Stepper, at), 0, "The step of the open row."},
    {"parts", T_LONGLONG, offsetof(Stepper, parts), 0, "The number of the next part."},
    {"part_seed", T_UINT, offsetof(Stepper, part_seed), 0, "What the checksum of a part starts from."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef stepper_methods[] = {
    {"log", (PyCFunction)(void (*)(void))stepper_log, METH_FASTCALL, "Close a row, open the next; whether that was done."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stepper_getset[] = {
    {"row", (getter)stepper_row, (setter)stepper_set_row, "The open row.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* -- the module ---------------------------------------------------------------------------------------------------------------- */

/* crc32(data, seed, by_table): for tests. */
static PyObject *
crc32(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *data;
    Py_ssize_t size;
    unsigned int seed;
    int by_table;
    if (!PyArg_ParseTuple(args, "y#Ip", &data, &size, &seed, &by_table))
        return NULL;
    Buffer copy = {NULL, 0};
    if (buffer_resize(&copy, size) < 0)
        return PyErr_NoMemory();
    uint8_t *bytes = copy.bytes + FRONT;
    memset(bytes - PAD, 0, PAD);
    memcpy(bytes, data, (size_t)size);
    uint32_t sum = by_table || size < 4 ? crc_by_table(bytes, (size_t)size, seed) : CRC(bytes, (size_t)size, seed);
    PyMem_Free(copy.bytes);
    return PyLong_FromUnsignedLong(sum);
}

/* use(encode, decode): the functions of frame.py, given once so that no call ever has to import anything. */
static PyObject *
use(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *encode, *decode;
    if (!PyArg_ParseTuple(args, "OO", &encode, &decode))
        return NULL;
    Py_XDECREF(encode_payload);
    Py_XDECREF(decode_payload);
    encode_payload = Py_NewRef(encode);
    decode_payload = Py_NewRef(decode);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"use", use, METH_VARARGS, "use(encode, decode): what makes bytes of a row, and a row of bytes."},
    {"crc32", crc32, METH_VARARGS, "crc32(data, seed, by_table): the checksum of a row."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "milepost.sdk._native", "The fast path in C; see native.py.", -1, functions, NULL, NULL, NULL, NULL,
};

#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE)

static PyType_Spec clock_spec = {
    "milepost.sdk._native.Clock", sizeof(Clock), 0, FLAGS,
    (PyType_Slot[]){{Py_tp_dealloc, plain_dealloc}, {Py_tp_members, clock_members}, {0, NULL}},
};
static PyType_Spec place_spec = {
    "milepost.sdk._native.Place", sizeof(Place), 0, FLAGS,
    (PyType_Slot[]){{Py_tp_dealloc, plain_dealloc}, {Py_tp_members, place_members}, {0, NULL}},
};
static PyType_Spec pattern_spec = {
    "milepost.sdk._native.Pattern", sizeof(Pattern), 0, FLAGS | Py_TPFLAGS_HAVE_GC,
    (PyType_Slot[]){{Py_tp_new, pattern_new}, {Py_tp_dealloc, pattern_dealloc}, {Py_tp_traverse, pattern_traverse},
                    {Py_tp_clear, pattern_clear}, {Py_tp_methods, pattern_methods}, {Py_tp_getset, pattern_getset}, {0, NULL}},
};
static PyType_Spec caller_spec = {
    "milepost.sdk._native.Caller", sizeof(Caller), 0, FLAGS | Py_TPFLAGS_HAVE_GC,
    (PyType_Slot[]){{Py_tp_dealloc, caller_dealloc}, {Py_tp_traverse, caller_traverse}, {Py_tp_clear, caller_clear},
                    {Py_tp_members, caller_members}, {Py_tp_methods, caller_methods}, {Py_tp_getset, caller_getset}, {0, NULL}},
};
static PyType_Spec stepper_spec = {
    "milepost.sdk._native.Stepper", sizeof(Stepper), 0, FLAGS | Py_TPFLAGS_HAVE_GC,
    (PyType_Slot[]){{Py_tp_dealloc, stepper_dealloc}, {Py_tp_traverse, stepper_traverse}, {Py_tp_clear, stepper_clear},
                    {Py_tp_members, stepper_members}, {Py_tp_methods, stepper_methods}, {Py_tp_getset, stepper_getset}, {0, NULL}},
};

static PyTypeObject *
add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject *base)
{
    PyObject *type = PyType_FromSpecWithBases(spec, (PyObject *)base);
    return type != NULL && PyModule_AddObjectRef(module, name, type) == 0 ? (PyTypeObject *)type : NULL;
}

PyMODINIT_FUNC
PyInit__native(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    make_table();
#if defined(__x86_64__)
    multiplies = __builtin_cpu_supports("pclmul");
#endif
    trace_module = PyUnicode_InternFromString("opentelemetry.trace");
    plain_name = PyUnicode_InternFromString("plain");
    clock_type = add_type(module, "Clock", &clock_spec, NULL);
    place_type = add_type(module, "Place", &place_spec, NULL);
    pattern_type = add_type(module, "Pattern", &pattern_spec, NULL);
    PyTypeObject *caller_type = add_type(module, "Caller", &caller_spec, NULL);
    if (trace_module == NULL || plain_name == NULL || clock_type == NULL || place_type == NULL || pattern_type == NULL
        || caller_type == NULL || add_type(module, "Stepper", &stepper_spec, caller_type) == NULL
        || PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
