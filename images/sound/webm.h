/*
 * One Opus track as a live WebM stream: an initialisation segment, and then clusters of known
 * size, which is what Media Source Extensions take piece by piece.
 */
#ifndef WEBM_H
#define WEBM_H

#include <stddef.h>
#include <stdint.h>

enum {
    /* Bytes that the initialisation segment fits into. */
    WEBM_HEADER_MAX = 256,
    /* Bytes of a cluster beside those of its packets. */
    WEBM_CLUSTER_OVERHEAD = 24,
    WEBM_BLOCK_OVERHEAD = 9,
};

/* The initialisation segment; returns its length. `pre_skip` is the encoder's delay in samples. */
size_t webm_header(uint8_t *out, unsigned channels, unsigned rate, unsigned pre_skip);

/* A cluster that is being filled. */
struct webm_cluster {
    uint8_t *out;
    size_t length;
};

/* Begins a cluster at this time since the start in milliseconds, in a buffer with room for it. */
void webm_cluster_begin(struct webm_cluster *cluster, uint8_t *out, uint64_t milliseconds);

/* Adds a packet, this many milliseconds after the cluster's beginning. */
void webm_cluster_add(struct webm_cluster *cluster, unsigned milliseconds, const uint8_t *packet, size_t length);

/* Writes the cluster's size into it; returns its length. */
size_t webm_cluster_end(struct webm_cluster *cluster);

#endif
