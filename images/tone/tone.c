/*
 * An application whose sound is known, so that a test can hear it and a measurement can tell how
 * long it took: silence, and from each whole second of the system's clock on, 200 ms of 440 Hz.
 *
 * The sound is handed to the server as other applications do, 20 ms ahead at most.
 *
 * With TONE_ON_SIGNAL=true nothing is played, and no stream is open, until SIGUSR1 comes: then one tone of 200 ms.
 */
#include <math.h>
#include <pulse/error.h>
#include <pulse/simple.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    RATE = 48000,
    BLOCK = RATE / 200,
    AHEAD = RATE / 50,
    TONE_MS = 200,
};

static pa_simple *play(void)
{
    const pa_sample_spec format = { .format = PA_SAMPLE_S16LE, .rate = RATE, .channels = 1 };
    const pa_buffer_attr buffer = {
        .maxlength = (uint32_t)-1,
        .tlength = AHEAD * sizeof(int16_t),
        .prebuf = 0,
        .minreq = BLOCK * sizeof(int16_t),
    };
    int error;
    pa_simple *sink = NULL;

    /* The server is started beside the application, and may be a moment late. */
    for (int tries = 0; tries < 100 && sink == NULL; tries++) {
        sink = pa_simple_new(NULL, "tone", PA_STREAM_PLAYBACK, NULL, "tone", &format, NULL, &buffer, &error);
        if (sink == NULL)
            usleep(50000);
    }
    if (sink == NULL) {
        fprintf(stderr, "tone: the sound server does not answer: %s\n", pa_strerror(error));
        exit(EXIT_FAILURE);
    }
    return sink;
}

static void write_block(pa_simple *sink, const int16_t *block)
{
    int error;

    if (pa_simple_write(sink, block, BLOCK * sizeof *block, &error) < 0) {
        fprintf(stderr, "tone: the sound server is gone: %s\n", pa_strerror(error));
        exit(EXIT_FAILURE);
    }
}

static int16_t next_sample(void)
{
    static double phase;

    phase += 2 * M_PI * 440 / RATE;
    return (int16_t)(16000 * sin(phase));
}

static _Noreturn void play_each_second(void)
{
    pa_simple *sink = play();
    int16_t block[BLOCK];

    for (;;) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        for (int i = 0; i < BLOCK; i++) {
            const long at = now.tv_nsec / 1000000 + i * 1000 / RATE;
            const int16_t sample = next_sample();

            block[i] = at % 1000 < TONE_MS ? sample : 0;
        }
        write_block(sink, block);
    }
}

static _Noreturn void play_on_signal(void)
{
    int16_t block[BLOCK];
    sigset_t awaited;
    int number, error;

    sigemptyset(&awaited);
    sigaddset(&awaited, SIGUSR1);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    puts("tone: waiting for SIGUSR1");
    fflush(stdout);
    while (sigwait(&awaited, &number) == 0) {
        pa_simple *sink = play();

        for (int played = 0; played < TONE_MS * RATE / 1000; played += BLOCK) {
            for (int i = 0; i < BLOCK; i++)
                block[i] = next_sample();
            write_block(sink, block);
        }
        pa_simple_drain(sink, &error);
        pa_simple_free(sink);
    }
    exit(EXIT_FAILURE);
}

int main(void)
{
    const char *on_signal = getenv("TONE_ON_SIGNAL");

    if (on_signal != NULL && strcmp(on_signal, "true") == 0)
        play_on_signal();
    play_each_second();
}
