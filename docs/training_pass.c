// The lecture's training step by hand in C, to be timed: makemore bench --c docs/training_pass.c
//
// B = 32, H = 200, V = 27, E = 10, T = 3, plain gradient descent. Every size is known to the compiler, rows are padded to
// whole vectors, and the products take several rows at a time, as many as there are registers for their sums.
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define VECTOR 16  // floats
#define ROWS 8     // of a product with two vectors of sums a row
#else
#define VECTOR 8
#define ROWS 4
#endif

#define B 32
#define T 3
#define E 10
#define K (T * E)
#define H 200
#define V 27
#define H_PADDED 208
#define V_PADDED 32

typedef float vec __attribute__((vector_size(4 * VECTOR)));
#define AT(x) (*(vec *)&(x))
#define ALIGNED __attribute__((aligned(64)))

// 2^m e^r, with |r| <= log(2)/2.
static inline float fast_exp(float x) {
  x = x < -87 ? -87 : x;
  x = x > 87 ? 87 : x;
  float m = __builtin_floorf(x * 1.44269504f + 0.5f), r = x - m * 0.693359375f + m * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  union { int bits; float number; } power;
  power.bits = ((int)m + 127) << 23;
  return p * power.number;
}

static inline float fast_tanh(float x) { return 1.0f - 2.0f / (fast_exp(2 * x) + 1.0f); }

// X (steps, B, T) and Y (steps, B). The parameters are updated in place; losses (steps,) in nats.
void train(float *C, float *W1_, float *b1_, float *W2_, float *b2_, float *gain_, float *bias_, const uint8_t *X,
           const uint8_t *Y, long steps, float lr, float *losses) {
  static ALIGNED float embcat[B][K], hprebn[B][H_PADDED], bnraw[B][H_PADDED], h[B][H_PADDED], dh[B][H_PADDED];
  static ALIGNED float dlogits[B][V_PADDED], dembcat[B][K];
  static ALIGNED float W1[K][H_PADDED], W2[H_PADDED][V_PADDED], dW2[H_PADDED][V_PADDED], W2T[V][H_PADDED];
  static ALIGNED float b1[H_PADDED], gain[H_PADDED], bias[H_PADDED], b2[V_PADDED], bnvar_inv[H_PADDED];
  memset(W1, 0, sizeof W1), memset(W2, 0, sizeof W2), memset(b1, 0, sizeof b1), memset(b2, 0, sizeof b2);
  memset(gain, 0, sizeof gain), memset(bias, 0, sizeof bias);
  for (int k = 0; k < K; k++) for (int j = 0; j < H; j++) W1[k][j] = W1_[k * H + j];
  for (int j = 0; j < H; j++) for (int v = 0; v < V; v++) W2[j][v] = W2_[j * V + v];
  for (int j = 0; j < H; j++) b1[j] = b1_[j], gain[j] = gain_[j], bias[j] = bias_[j];
  for (int v = 0; v < V; v++) b2[v] = b2_[v];

  for (long step = 0; step < steps; step++) {
    const uint8_t *x = X + step * B * T, *y = Y + step * B;

    // Forward.
    for (int i = 0; i < B; i++)
      for (int t = 0; t < T; t++)
        for (int e = 0; e < E; e++) embcat[i][t * E + e] = C[x[i * T + t] * E + e];
    for (int i = 0; i < B; i += 8)
      for (int j = 0; j < H_PADDED; j += VECTOR) {
        vec sum[8];
        for (int q = 0; q < 8; q++) sum[q] = AT(b1[j]);
        for (int k = 0; k < K; k++) {
          vec w = AT(W1[k][j]);
          for (int q = 0; q < 8; q++) sum[q] += embcat[i + q][k] * w;
        }
        for (int q = 0; q < 8; q++) AT(hprebn[i + q][j]) = sum[q];
      }
    for (int j = 0; j < H_PADDED; j += VECTOR) {
      vec mean = {0}, var = {0}, inv;
      for (int i = 0; i < B; i++) mean += AT(hprebn[i][j]);
      mean *= 1.0f / B;
      for (int i = 0; i < B; i++) {
        vec diff = AT(hprebn[i][j]) - mean;
        AT(bnraw[i][j]) = diff;
        var += diff * diff;
      }
      var *= 1.0f / (B - 1);
      for (int q = 0; q < VECTOR; q++) inv[q] = 1.0f / sqrtf(var[q] + 1e-5f);
      AT(bnvar_inv[j]) = inv;
      for (int i = 0; i < B; i++) {
        vec raw = AT(bnraw[i][j]) * inv;
        AT(bnraw[i][j]) = raw;
        AT(h[i][j]) = raw * AT(gain[j]) + AT(bias[j]);
      }
    }
    for (int i = 0; i < B; i++) for (int j = 0; j < H_PADDED; j++) h[i][j] = fast_tanh(h[i][j]);
    for (int i = 0; i < B; i += ROWS)
      for (int v = 0; v < V_PADDED; v += 2 * VECTOR) {
        vec sum[ROWS], other[ROWS];
        for (int q = 0; q < ROWS; q++) sum[q] = AT(b2[v]), other[q] = AT(b2[v + VECTOR]);
        for (int j = 0; j < H; j++) {
          vec w = AT(W2[j][v]), u = AT(W2[j][v + VECTOR]);
          for (int q = 0; q < ROWS; q++) sum[q] += h[i + q][j] * w, other[q] += h[i + q][j] * u;
        }
        for (int q = 0; q < ROWS; q++) AT(dlogits[i + q][v]) = sum[q], AT(dlogits[i + q][v + VECTOR]) = other[q];
      }
    float loss = 0;
    for (int i = 0; i < B; i++) {
      float *row = dlogits[i], top = row[0], counts_sum = 0;
      for (int v = 1; v < V; v++) top = row[v] > top ? row[v] : top;
      float right = row[y[i]] - top;
      for (int v = 0; v < V_PADDED; v++) row[v] = fast_exp(row[v] - top);
      for (int v = V; v < V_PADDED; v++) row[v] = 0;
      for (int v = 0; v < V; v++) counts_sum += row[v];
      loss += logf(counts_sum) - right;
      float scale = 1.0f / (counts_sum * B);
      for (int v = 0; v < V; v++) row[v] *= scale;
      row[y[i]] -= 1.0f / B;
    }
    losses[step] = loss / B;

    // Backward, from the loss up.
    for (int j = 0; j < H_PADDED; j += ROWS)
      for (int v = 0; v < V_PADDED; v += 2 * VECTOR) {
        vec sum[ROWS], other[ROWS];
        for (int q = 0; q < ROWS; q++) sum[q] = (vec){0}, other[q] = (vec){0};
        for (int i = 0; i < B; i++) {
          vec d = AT(dlogits[i][v]), f = AT(dlogits[i][v + VECTOR]);
          for (int q = 0; q < ROWS; q++) sum[q] += h[i][j + q] * d, other[q] += h[i][j + q] * f;
        }
        for (int q = 0; q < ROWS; q++) AT(dW2[j + q][v]) = sum[q], AT(dW2[j + q][v + VECTOR]) = other[q];
      }
    for (int j = 0; j < H_PADDED; j++) for (int v = 0; v < V; v++) W2T[v][j] = W2[j][v];
    for (int i = 0; i < B; i += 8)
      for (int j = 0; j < H_PADDED; j += VECTOR) {
        vec sum[8];
        for (int q = 0; q < 8; q++) sum[q] = (vec){0};
        for (int v = 0; v < V; v++) {
          vec w = AT(W2T[v][j]);
          for (int q = 0; q < 8; q++) sum[q] += dlogits[i + q][v] * w;
        }
        for (int q = 0; q < 8; q++) AT(dh[i + q][j]) = (1.0f - AT(h[i + q][j]) * AT(h[i + q][j])) * sum[q];
      }
    for (int j = 0; j < H_PADDED; j += VECTOR) {
      vec dbias = {0}, dgain = {0}, db1 = {0};
      for (int i = 0; i < B; i++) dbias += AT(dh[i][j]), dgain += AT(dh[i][j]) * AT(bnraw[i][j]);
      vec scale = AT(gain[j]) * AT(bnvar_inv[j]) * (1.0f / B), unbiased = dgain * ((float)B / (B - 1));
      for (int i = 0; i < B; i++) {
        vec d = scale * ((float)B * AT(dh[i][j]) - dbias - AT(bnraw[i][j]) * unbiased);
        AT(hprebn[i][j]) = d;  // dhprebn
        db1 += d;
      }
      AT(gain[j]) -= lr * dgain;
      AT(bias[j]) -= lr * dbias;
      AT(b1[j]) -= lr * db1;
    }
    for (int i = 0; i < B; i++)
      for (int k = 0; k < K; k++) {
        vec sum = {0};
        for (int j = 0; j < H_PADDED; j += VECTOR) sum += AT(hprebn[i][j]) * AT(W1[k][j]);
        float total = 0;
        for (int q = 0; q < VECTOR; q++) total += sum[q];
        dembcat[i][k] = total;
      }
    for (int k = 0; k < K; k += 6)
      for (int j = 0; j < H_PADDED; j += VECTOR) {
        vec sum[6];
        for (int q = 0; q < 6; q++) sum[q] = (vec){0};
        for (int i = 0; i < B; i++) {
          vec d = AT(hprebn[i][j]);
          for (int q = 0; q < 6; q++) sum[q] += embcat[i][k + q] * d;
        }
        for (int q = 0; q < 6; q++) AT(W1[k + q][j]) -= lr * sum[q];
      }
    for (int j = 0; j < H_PADDED; j++)
      for (int v = 0; v < V_PADDED; v += VECTOR) AT(W2[j][v]) -= lr * AT(dW2[j][v]);
    for (int v = 0; v < V; v++) {
      float sum = 0;
      for (int i = 0; i < B; i++) sum += dlogits[i][v];
      b2[v] -= lr * sum;
    }
    for (int i = 0; i < B; i++)
      for (int t = 0; t < T; t++)
        for (int e = 0; e < E; e++) C[x[i * T + t] * E + e] -= lr * dembcat[i][t * E + e];
  }

  for (int k = 0; k < K; k++) for (int j = 0; j < H; j++) W1_[k * H + j] = W1[k][j];
  for (int j = 0; j < H; j++) for (int v = 0; v < V; v++) W2_[j * V + v] = W2[j][v];
  for (int j = 0; j < H; j++) b1_[j] = b1[j], gain_[j] = gain[j], bias_[j] = bias[j];
  for (int v = 0; v < V; v++) b2_[v] = b2[v];
}
