/* The elements are those of RFC 9559 (Matroska) in the encoding of RFC 8794 (EBML); Opus in it is
 * RFC 7845's identification header and the delays of wiki.xiph.org/MatroskaOpus. */
#include "webm.h"

#include <string.h>

static uint8_t *put_bytes(uint8_t *out, const void *bytes, size_t length)
{
    memcpy(out, bytes, length);
    return out + length;
}

/* The number's last bytes, most significant first. */
static uint8_t *put_number(uint8_t *out, uint64_t number, unsigned bytes)
{
    while (bytes-- > 0)
        *out++ = (uint8_t)(number >> (8 * bytes));
    return out;
}

/* An identifier carries its own length in its first bits. */
static uint8_t *put_id(uint8_t *out, uint32_t id)
{
    return put_number(out, id, id > 0xffffff ? 4 : id > 0xffff ? 3 : id > 0xff ? 2 : 1);
}

/* A size of four bytes, whatever it is, so that it can be written before what it is the size of. */
static uint8_t *put_size(uint8_t *out, size_t size)
{
    return put_number(out, 0x10000000 | size, 4);
}

static uint8_t *put_unsigned(uint8_t *out, uint32_t id, uint64_t number)
{
    return put_number(put_size(put_id(out, id), 8), number, 8);
}

static uint8_t *put_text(uint8_t *out, uint32_t id, const char *text)
{
    return put_bytes(put_size(put_id(out, id), strlen(text)), text, strlen(text));
}

/* Begins an element; `put_end` writes its size. */
static uint8_t *put_begin(uint8_t *out, uint32_t id)
{
    return put_id(out, id) + 4;
}

static void put_end(uint8_t *content, const uint8_t *end)
{
    put_size(content - 4, (size_t)(end - content));
}

/* RFC 7845, 5.1; numbers in it are little-endian. */
static uint8_t *put_opus_head(uint8_t *out, unsigned channels, unsigned rate, unsigned pre_skip)
{
    const uint8_t head[] = {
        'O', 'p', 'u', 's', 'H', 'e', 'a', 'd', 1, (uint8_t)channels,
        (uint8_t)pre_skip, (uint8_t)(pre_skip >> 8),
        (uint8_t)rate, (uint8_t)(rate >> 8), (uint8_t)(rate >> 16), (uint8_t)(rate >> 24),
        0, 0, 0,
    };

    return put_bytes(put_size(put_id(out, 0x63a2), sizeof head), head, sizeof head);
}

size_t webm_header(uint8_t *out, unsigned channels, unsigned rate, unsigned pre_skip)
{
    const union { float number; uint32_t bits; } frequency = { .number = (float)rate };
    uint8_t *end = out, *element, *track, *audio;

    element = end = put_begin(end, 0x1a45dfa3); /* EBML */
    end = put_unsigned(end, 0x4286, 1); /* EBMLVersion */
    end = put_unsigned(end, 0x42f7, 1); /* EBMLReadVersion */
    end = put_unsigned(end, 0x42f2, 4); /* EBMLMaxIDLength */
    end = put_unsigned(end, 0x42f3, 8); /* EBMLMaxSizeLength */
    end = put_text(end, 0x4282, "webm"); /* DocType */
    end = put_unsigned(end, 0x4287, 4); /* DocTypeVersion */
    end = put_unsigned(end, 0x4285, 2); /* DocTypeReadVersion */
    put_end(element, end);

    end = put_id(end, 0x18538067); /* Segment, of unknown size because it is live */
    end = put_number(end, 0x01ffffffffffffff, 8);

    element = end = put_begin(end, 0x1549a966); /* Info */
    end = put_unsigned(end, 0x2ad7b1, 1000000); /* TimestampScale: a millisecond */
    end = put_text(end, 0x4d80, "CoSage"); /* MuxingApp */
    end = put_text(end, 0x5741, "CoSage"); /* WritingApp */
    put_end(element, end);

    element = end = put_begin(end, 0x1654ae6b); /* Tracks */
    track = end = put_begin(end, 0xae); /* TrackEntry */
    end = put_unsigned(end, 0xd7, 1); /* TrackNumber */
    end = put_unsigned(end, 0x73c5, 1); /* TrackUID */
    end = put_unsigned(end, 0x83, 2); /* TrackType: audio */
    end = put_text(end, 0x86, "A_OPUS"); /* CodecID */
    end = put_opus_head(end, channels, rate, pre_skip);
    end = put_unsigned(end, 0x56aa, pre_skip * 1000000000ull / rate); /* CodecDelay in nanoseconds */
    end = put_unsigned(end, 0x56bb, 80000000); /* SeekPreRoll in nanoseconds */
    audio = end = put_begin(end, 0xe1); /* Audio */
    end = put_number(put_size(put_id(end, 0xb5), 4), frequency.bits, 4); /* SamplingFrequency */
    end = put_unsigned(end, 0x9f, channels); /* Channels */
    put_end(audio, end);
    put_end(track, end);
    put_end(element, end);
    return (size_t)(end - out);
}

void webm_cluster_begin(struct webm_cluster *cluster, uint8_t *out, uint64_t milliseconds)
{
    uint8_t *end = put_begin(out, 0x1f43b675); /* Cluster */

    end = put_unsigned(end, 0xe7, milliseconds); /* Timestamp */
    cluster->out = out;
    cluster->length = (size_t)(end - out);
}

void webm_cluster_add(struct webm_cluster *cluster, unsigned milliseconds, const uint8_t *packet, size_t length)
{
    uint8_t *end = put_size(put_id(cluster->out + cluster->length, 0xa3), 4 + length); /* SimpleBlock */

    end = put_number(end, 0x81, 1); /* of track 1 */
    end = put_number(end, milliseconds, 2);
    end = put_number(end, 0x80, 1); /* a key frame */
    end = put_bytes(end, packet, length);
    cluster->length = (size_t)(end - cluster->out);
}

size_t webm_cluster_end(struct webm_cluster *cluster)
{
    /* Behind the identifier and the size itself. */
    put_end(cluster->out + 8, cluster->out + cluster->length);
    return cluster->length;
}
