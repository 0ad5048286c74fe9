/*
 * The work for every line: frames from lines, lines from frames, records from lines.
 *
 * Each function
 * - reads size octets of input at most, writes room octets of output at most, allocates nothing;
 * - stops before the first line or frame that it does not handle, that is incomplete, or that
 *   does not fit, and reports how far it came: Python handles the rest;
 * - produces up to that place exactly the octets that wire/_decoder.py or wire/_record.py would.
 */

#include <stddef.h>
#include <string.h>

#include "_hotpath.h"

typedef unsigned char octet;

typedef struct {
    const octet *at;
    size_t size;
} span;

#define DIGITS_MAX 20 /* of 2^64 - 1 */

static span constant(const char *text)
{
    return (span){(const octet *)text, strlen(text)};
}

static octet *put(octet *out, span text)
{
    memcpy(out, text.at, text.size);
    return out + text.size;
}

static octet *put_number(octet *out, unsigned long long number)
{
    octet digits[DIGITS_MAX];
    size_t at = DIGITS_MAX;

    do {
        digits[--at] = (octet)('0' + number % 10);
        number /= 10;
    } while (number);
    return put(out, (span){digits + at, DIGITS_MAX - at});
}

static int has(span text, octet c)
{
    return memchr(text.at, c, text.size) != NULL;
}

static int is_digit(octet c)
{
    return c >= '0' && c <= '9';
}

/* Frames of lines: RFC 5425 section 4.3. Stops before an empty line, which no frame can carry. */
void decnet_frames_of_lines(const octet *lines, size_t size, octet *out, size_t room,
                            decnet_progress *done)
{
    size_t taken = 0, made = 0, count = 0;

    while (taken < size && room - made > DIGITS_MAX) {
        const octet *end = memchr(lines + taken, '\n', size - taken);
        span line = {lines + taken, end ? (size_t)(end - lines) - taken : 0};
        octet *to = out + made;

        if (line.size == 0 || line.size > room - made - (DIGITS_MAX + 1))
            break;
        to = put_number(to, line.size);
        *to++ = ' ';
        made = (size_t)(put(to, line) - out);
        taken += line.size + 1;
        count++;
    }
    *done = (decnet_progress){taken, made, count};
}

/* The message of a frame; 0 if this is no frame, or incomplete, or longer than the longest. */
static int read_frame(span frame, size_t longest, span *text)
{
    size_t at = 0, number = 0;

    if (frame.size == 0 || *frame.at == '0')
        return 0;
    for (; at < frame.size && is_digit(frame.at[at]); at++) {
        size_t digit = (size_t)(frame.at[at] - '0');

        if (digit > longest || number > (longest - digit) / 10)
            return 0;
        number = number * 10 + digit;
    }
    if (at == 0 || at == frame.size || frame.at[at] != ' ' || frame.size - at - 1 < number)
        return 0;
    *text = (span){frame.at + at + 1, number};
    return 1;
}

/*
 * Lines of frames: every message with an LF behind it. Stops before a control line, a message
 * with an LF in it, a frame that is empty, too long or incomplete, and anything else.
 */
void decnet_lines_of_frames(const octet *frames, size_t size, size_t longest, octet *out,
                            size_t room, decnet_progress *done)
{
    size_t taken = 0, made = 0, count = 0;

    while (taken < size) {
        span text;

        if (!read_frame((span){frames + taken, size - taken}, longest, &text) ||
            room - made <= text.size || has(text, '\n'))
            break;
        *put(out + made, text) = '\n';
        made += text.size + 1;
        taken = (size_t)(text.at - frames) + text.size;
        count++;
    }
    *done = (decnet_progress){taken, made, count};
}

/*
 * Records are made of lines of the common shape only, printable ASCII without a backslash:
 *
 *     <134>1 2026-04-18T00:00:00.123456+00:00 decky service procid event
 *     [relay@55555 src_ip="203.0.113.7" name="value"] text
 *
 * The time exists, the event is not "-", no parameter occurs twice, one has the attacker's
 * address. JSON then needs escapes only for the quotes in the text.
 */

#define PARAMS_MAX 32
/* A record has up to 512 octets of its own, and each octet of its line up to 8 times. */
#define RECORD_OWN_MAX 512
#define RECORD_TIMES_MAX 8

static const char *const address_names[] = {
    "src_ip", "src", "client_ip", "remote_ip", "remote_addr", "target_ip", "ip",
};

typedef struct {
    span name, value;
} param;

typedef struct {
    span date, time, decky, service, event, text, attacker, port;
    param params[PARAMS_MAX];
    size_t count;
} message;

static int equals(span one, span other)
{
    return one.size == other.size && memcmp(one.at, other.at, one.size) == 0;
}

/* Take the first octets off a text. */
static span skip(span *text, size_t size)
{
    span skipped = {text->at, size};

    text->at += size;
    text->size -= size;
    return skipped;
}

/* Take a beginning off a text that must have it. */
static int accept(span *text, const char *beginning)
{
    span wanted = constant(beginning);

    if (text->size < wanted.size || memcmp(text->at, wanted.at, wanted.size) != 0)
        return 0;
    skip(text, wanted.size);
    return 1;
}

/* Whether JSON needs no escape, except for quotes. Without branches, so it is vectorized. */
static int is_plain(span text)
{
    unsigned strange = 0;

    for (size_t i = 0; i < text.size; i++)
        strange |= (text.at[i] < 0x20) | (text.at[i] > 0x7e) | (text.at[i] == '\\');
    return !strange;
}

/* Two digits as a number, or 100, which is out of range everywhere. */
static unsigned two_digits(const octet *at)
{
    if (!is_digit(at[0]) || !is_digit(at[1]))
        return 100;
    return (unsigned)(at[0] - '0') * 10 + (unsigned)(at[1] - '0');
}

/* Whether YYYY-MM-DD is a day: there is no year 0. */
static int is_date(const octet *at)
{
    static const octet days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned century = two_digits(at), year = two_digits(at + 2);
    unsigned month = two_digits(at + 5), day = two_digits(at + 8);
    unsigned leap = year % 4 == 0 && (year != 0 || century % 4 == 0);

    if (at[4] != '-' || at[7] != '-' || century > 99 || year > 99 || century + year == 0)
        return 0;
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (month == 2) * leap;
}

static int is_time(const octet *at)
{
    return at[2] == ':' && at[5] == ':' && two_digits(at) < 24 && two_digits(at + 3) < 60 &&
           two_digits(at + 6) < 60;
}

/* Take digits off a text. */
static span read_digits(span *line, size_t most)
{
    size_t size = 0;

    while (size < line->size && size < most && is_digit(line->at[size]))
        size++;
    return skip(line, size);
}

/* PRI, VERSION and TIMESTAMP. */
static int read_time(span *line, message *found)
{
    if (!accept(line, "<") || !read_digits(line, 3).size || !accept(line, ">1 ") ||
        line->size < sizeof "2026-04-18T00:00:00" || !is_date(line->at) ||
        line->at[10] != 'T' || !is_time(line->at + 11))
        return 0;
    found->date = skip(line, 10);
    skip(line, 1);
    found->time = skip(line, 8);
    if (accept(line, ".") && !read_digits(line, line->size).size)
        return 0;
    if (accept(line, "Z"))
        return 1;
    if (line->size < sizeof "+00:00" - 1 || (*line->at != '+' && *line->at != '-') ||
        line->at[3] != ':' || two_digits(line->at + 1) > 23 || two_digits(line->at + 4) > 59)
        return 0;
    skip(line, 6);
    return 1;
}

/* A space, and a word of the header: anything but spaces and quotes. */
static int read_word(span *line, span *word)
{
    size_t size = 0;

    if (!accept(line, " "))
        return 0;
    while (size < line->size && line->at[size] != ' ' && line->at[size] != '"')
        size++;
    *word = skip(line, size);
    return size > 0;
}

static int is_name(octet c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '.' || c == '-';
}

static const param *find_param(const message *found, span name)
{
    for (size_t i = 0; i < found->count; i++)
        if (equals(found->params[i].name, name))
            return &found->params[i];
    return NULL;
}

/* A space, a name that no parameter before it has, and its value. */
static int read_param(span *line, message *found)
{
    param *next = &found->params[found->count];
    const octet *quote;
    size_t size = 0;

    if (found->count == PARAMS_MAX || !accept(line, " "))
        return 0;
    while (size < line->size && is_name(line->at[size]))
        size++;
    next->name = skip(line, size);
    if (size == 0 || find_param(found, next->name) || !accept(line, "=\""))
        return 0;
    quote = memchr(line->at, '"', line->size);
    if (!quote)
        return 0;
    next->value = skip(line, (size_t)(quote - line->at));
    skip(line, 1);
    found->count++;
    return 1;
}

/* Whether this is an IPv6 address in groups: eight, or fewer and one "::". */
static int is_ipv6(span text)
{
    size_t groups = 0, digits = 0, gaps = 0;

    for (size_t i = 0; i < text.size; i++) {
        if (has(constant("0123456789abcdefABCDEF"), text.at[i])) {
            groups += digits == 0;
            if (++digits > 4)
                return 0;
        } else {
            int is_gap = i + 1 < text.size && text.at[i] == ':' && text.at[i + 1] == ':';

            if (text.at[i] != ':' || i + 1 == text.size || (!is_gap && digits == 0))
                return 0;
            gaps += (size_t)is_gap;
            i += (size_t)is_gap;
            digits = 0;
        }
    }
    return gaps == 0 ? groups == 8 : gaps == 1 && groups < 8;
}

/* The attacker's address and its port: other forms are left to addresses.py. */
static int read_attacker(message *found)
{
    const param *address = NULL;
    const octet *colon;
    span port;

    for (size_t i = 0; !address && i < sizeof address_names / sizeof *address_names; i++)
        address = find_param(found, constant(address_names[i]));
    if (!address || has(address->value, '[') || has(address->value, ']'))
        return 0;
    found->attacker = port = address->value;
    found->port = (span){NULL, 0};
    colon = memchr(port.at, ':', port.size);
    if (colon && !is_ipv6(port)) {
        skip(&port, (size_t)(colon - port.at) + 1);
        found->port = read_digits(&port, port.size);
        if (port.size > 0)
            return 0;
        if (found->port.size > 0 && colon != found->attacker.at)
            found->attacker.size = (size_t)(colon - found->attacker.at);
        if (colon == found->attacker.at || find_param(found, constant("remote_port")))
            found->port.size = 0;
    }
    return !equals(found->attacker, constant("Unknown"));
}

/* The parts of a line; 0 if it is not of the common shape. */
static int read_line(span line, message *found)
{
    span procid;

    found->count = 0;
    if (!is_plain(line) || !read_time(&line, found) || !read_word(&line, &found->decky) ||
        !read_word(&line, &found->service) || !read_word(&line, &procid) ||
        !read_word(&line, &found->event) || equals(found->event, constant("-")) ||
        !accept(&line, " [relay@55555"))
        return 0;
    do {
        if (!read_param(&line, found))
            return 0;
    } while (line.size > 0 && *line.at == ' ');
    if (!accept(&line, "]") || (line.size > 0 && *line.at != ' '))
        return 0;
    while (line.size > 0 && *line.at == ' ')
        skip(&line, 1);
    while (line.size > 0 && line.at[line.size - 1] == ' ')
        line.size--;
    found->text = line;
    return read_attacker(found);
}

/* The part of a name before its first dot. */
static span label(span name)
{
    const octet *dot = memchr(name.at, '.', name.size);

    return dot ? (span){name.at, (size_t)(dot - name.at)} : name;
}

/* Whether a HOSTNAME names another machine than the worker's certificate: hostname.py. */
static int contradicts(span said, span worker)
{
    if (equals(said, constant("-")))
        return 0;
    /* One of them has no domain: only the first labels are compared. */
    if (!has(said, '.') || !has(worker, '.')) {
        said = label(said);
        worker = label(worker);
    }
    if (said.size != worker.size)
        return 1;
    for (size_t i = 0; i < said.size; i++) {
        int upper = said.at[i] >= 'A' && said.at[i] <= 'Z';

        if (said.at[i] + upper * ('a' - 'A') != worker.at[i])
            return 1;
    }
    return 0;
}

/* A text, with a backslash before each quote. */
static octet *put_escaped(octet *out, span text)
{
    const octet *quote;

    while ((quote = memchr(text.at, '"', text.size)) != NULL) {
        out = put(out, skip(&text, (size_t)(quote - text.at)));
        out = put(out, constant("\\\""));
        skip(&text, 1);
    }
    return put(out, text);
}

/* What comes before a text, and the text. */
#define PUT(out, before, text) put(put((out), constant(before)), (text))

static octet *put_record(octet *out, const message *found, span line,
                         const decnet_members *members, unsigned long long offset)
{
    out = PUT(out, "{\"timestamp\": \"", found->date);
    out = PUT(out, " ", found->time);
    out = PUT(out, "\", \"decky\": \"", found->decky);
    out = PUT(out, "\", \"service\": \"", found->service);
    out = PUT(out, "\", \"event_type\": \"", found->event);
    out = PUT(out, "\", \"attacker_ip\": \"", found->attacker);
    out = PUT(out, "\", \"fields\": {\"", found->params[0].name);
    out = PUT(out, "\": \"", found->params[0].value);
    for (size_t i = 1; i < found->count; i++) {
        out = PUT(out, "\", \"", found->params[i].name);
        out = PUT(out, "\": \"", found->params[i].value);
    }
    if (found->port.size > 0)
        out = PUT(out, "\", \"remote_port\": \"", found->port);
    out = put(out, constant("\"}, \"msg\": \""));
    out = put_escaped(out, found->text);
    out = put(out, constant("\", \"raw_line\": \""));
    out = put_escaped(out, line);
    out = put(out, (span){members->before, members->before_size});
    out = members->has_offset ? put_number(out, offset) : put(out, constant("null"));
    if (members->worker &&
        contradicts(found->decky, (span){members->worker, members->worker_size}))
        return put(out, (span){members->marked, members->marked_size});
    return put(out, (span){members->after, members->after_size});
}

/* Records of lines, a line of JSON each. Stops before a line of another shape. */
void decnet_records_of_lines(const octet *lines, size_t size, const decnet_members *members,
                             octet *out, size_t room, decnet_progress *done)
{
    size_t own = RECORD_OWN_MAX + members->before_size + members->after_size +
                 members->marked_size;
    size_t taken = 0, made = 0, count = 0;
    message found;

    while (taken < size && room - made >= own) {
        const octet *end = memchr(lines + taken, '\n', size - taken);
        span line = {lines + taken, end ? (size_t)(end - lines) - taken : 0};

        if (!end || line.size > (room - made - own) / RECORD_TIMES_MAX ||
            !read_line(line, &found))
            break;
        made = (size_t)(put_record(out + made, &found, line, members,
                                   members->offset + taken) - out);
        taken += line.size + 1;
        count++;
    }
    *done = (decnet_progress){taken, made, count};
}
