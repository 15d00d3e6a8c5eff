/* The most multiply-adds (of single-precision numbers) a second that one core can do: GFLOP/s, best of 30 tries. */
#include <stdio.h>
#include <time.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(i) vector a##i = start + (float)i;
#define MULTIPLY_ADD(i) a##i = a##i * factor + summand;
#define SUM(i) total += a##i[0];

typedef float vector __attribute__((vector_size(4 * LANES)));

int main(void) {
  vector start = {0.5f}, factor = start * 0 + 0.999f, summand = start * 0 + 1e-4f;
  const long count = 2000000;
  double best = 0;
  float total = 0;
  for (int attempt = 0; attempt < 30; attempt++) {
    struct timespec from, to;
    EACH(DECLARE)
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    for (long i = 0; i < count; i++) {
      EACH(MULTIPLY_ADD)
      __asm__ volatile("" ::: "memory");
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    double seconds = to.tv_sec - from.tv_sec + 1e-9 * (to.tv_nsec - from.tv_nsec);
    double rate = count * 12.0 * LANES * 2 / seconds / 1e9;
    best = rate > best ? rate : best;
    EACH(SUM)
  }
  printf("%f %f\n", best, total);
  return 0;
}
