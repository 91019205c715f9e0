// What the networks of all members do besides messages and matrix products: functions of the pairs, activations, updates
// of the atoms (`redoxmd.model.representation.Update`), energies, forces. Widths are arguments; on a host -DREAL=double.
//
// m members of one width F have n atoms; an array (m, n, F) is that of the members, atom by atom. `size` is the number of
// threads with work: one for each member, atom and feature, or for each entry of an array. A sum over the neighbours of
// an atom or over its features is that of a warp, one over the atoms of a system that of a block, in a fixed order.
#ifndef REAL
#define REAL float
#endif

constexpr int THREADS = 128, WARPS = THREADS / 32;
constexpr double PI = 3.14159265358979323846, LARGEST = 1.7976931348623157e308;

struct alignas(4 * sizeof(REAL)) Real4 {
  REAL x, y, z, w;
};

__device__ __forceinline__ int thread_number() { return blockIdx.x * THREADS + threadIdx.x; }
__device__ __forceinline__ int warp_number() { return blockIdx.x * WARPS + threadIdx.x / 32; }

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int distance = 16; distance; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

// The smaller one; NaN if one is.
__device__ __forceinline__ double smaller(double a, double b) { return a != a || a < b ? a : b; }

// silu(x + b), or its derivative times by_out, of products x (m, n, W) without their bias b (m, W).
extern "C" __global__ void activation(const REAL* x, const REAL* bias, const REAL* by_out, REAL* out, int size,
                                      int width, int atoms) {
  const int i = thread_number();
  if (i >= size) return;
  const REAL value = x[i] + bias[i / (width * atoms) * width + i % width];
  const REAL logistic = 1 / (1 + exp(-value));
  out[i] = by_out ? by_out[i] * logistic * (1 + value * (1 - logistic)) : value * logistic;
}

// |Vmu| into the second half of `both` (m, n, 2F), from (Umu, Vmu) as `mixed` (m, n, 3, 2F).
extern "C" __global__ void norms(const REAL* mixed, REAL* both, int size, int features) {
  const int i = thread_number();
  if (i >= size) return;
  const size_t row = i / features, f = i % features;
  const REAL* v = mixed + row * 6 * features + features + f;
  const REAL x = v[0], y = v[2 * features], z = v[4 * features];
  both[row * 2 * features + features + f] = sqrt(x * x + y * y + z * z + REAL(1e-8));
}

// The update: scalars (m, n, F), vectors (m, n, 3, F) in place; `gates` (m, n, 3F) without their bias (m, 3F).
extern "C" __global__ void update(const REAL* mixed, const REAL* both, const REAL* gates, const REAL* bias,
                                  REAL* scalars, REAL* vectors, int size, int features, int atoms) {
  const int i = thread_number();
  if (i >= size) return;
  const int F = features;
  const size_t row = i / F, f = i % F;
  const REAL *u = mixed + row * 6 * F + f, *v = u + F, *gate = gates + row * 3 * F + f;
  const REAL* b = bias + row / atoms * 3 * F + f;
  REAL product = 0;
  const REAL along = gate[2 * F] + b[2 * F];
  for (int c = 0; c < 3; ++c) {
    product += u[2 * c * F] * v[2 * c * F];
    vectors[(row * 3 + c) * F + f] += along * u[2 * c * F];
  }
  scalars[i] = both[row * 2 * F + f] + gate[0] + b[0] + (gate[F] + b[F]) * product;
}

// Derivatives of an update by its gates (m, n, 3F), from those by its results, by_s (m, n, F) and by_v (m, n, 3, F).
extern "C" __global__ void update_gates(const REAL* mixed, const REAL* by_s, const REAL* by_v, REAL* by_gates, int size,
                                        int features) {
  const int i = thread_number();
  if (i >= size) return;
  const int F = features;
  const size_t row = i / F, f = i % F;
  const REAL *u = mixed + row * 6 * F + f, *v = u + F;
  REAL product = 0, along = 0;
  for (int c = 0; c < 3; ++c) {
    product += u[2 * c * F] * v[2 * c * F];
    along += u[2 * c * F] * by_v[(row * 3 + c) * F + f];
  }
  REAL* out = by_gates + row * 3 * F + f;
  out[0] = by_s[i];
  out[F] = by_s[i] * product;
  out[2 * F] = along;
}

// Those by (Umu, Vmu) as `by_mixed`, and by the scalars in place of by_s; `by_both` is that by the input of the gates.
extern "C" __global__ void update_mixed(const REAL* mixed, const REAL* both, const REAL* gates, const REAL* bias,
                                        const REAL* by_both, const REAL* by_v, REAL* by_s, REAL* by_mixed, int size,
                                        int features, int atoms) {
  const int i = thread_number();
  if (i >= size) return;
  const int F = features;
  const size_t row = i / F, f = i % F, half = row * 2 * F + f;
  const REAL *u = mixed + row * 6 * F + f, *v = u + F, *gate = gates + row * 3 * F + f;
  const REAL* b = bias + row / atoms * 3 * F + f;
  const REAL by_product = by_s[i] * (gate[F] + b[F]), along = gate[2 * F] + b[2 * F];
  const REAL by_norm = by_both[half + F] / both[half + F];
  REAL* out = by_mixed + row * 6 * F + f;
  for (int c = 0; c < 3; ++c) {
    out[2 * c * F] = by_product * v[2 * c * F] + along * by_v[(row * 3 + c) * F + f];
    out[2 * c * F + F] = by_product * u[2 * c * F] + by_norm * v[2 * c * F];
  }
  by_s[i] += by_both[half];
}

// Energies (m, n) of the atoms, without references and core repulsion, and their derivatives by the hidden layer
// (m, n, H) of the readout, which is given without its bias (m, H); `constant` and `scale` (m,).
extern "C" __global__ void readout(const REAL* hidden, const REAL* bias, const REAL* weights, const REAL* constant,
                                   const REAL* scale, const bool* occupied, double* energies, REAL* by_hidden, int size,
                                   int width, int atoms) {
  const int row = warp_number(), lane = threadIdx.x % 32;
  if (row >= size) return;
  const int member = row / atoms;
  const REAL factor = occupied[row % atoms] ? scale[member] : REAL(0);
  REAL sum = 0;
  for (int h = lane; h < width; h += 32) {
    const size_t i = size_t(row) * width + h;
    const REAL value = hidden[i] + bias[member * width + h], weight = weights[member * width + h];
    const REAL logistic = 1 / (1 + exp(-value));
    sum += weight * value * logistic;
    by_hidden[i] = factor * weight * logistic * (1 + value * (1 - logistic));
  }
  sum = warp_sum(sum);
  if (!lane) energies[row] = factor * (sum + constant[member]);
}

// What all members share of the pairs, a warp per atom: direction and distance `rays` (n, J, 4), basis and slope
// (n, J, K; not written beyond the cutoff), slope of the core repulsion (n, J) and its energy (n,); also the smallest
// squared distance in units of the summed `radius` (n,). `core` (S, 3) has charge, 1/a and reach of each species, as in
// `redoxmd.model.repulsion`.
extern "C" __global__ void pair_functions(const double* positions, const long long* sender, const double* offset,
                                          const long long* species, const double* radius, const double* frequency,
                                          const double* core, Real4* rays, REAL* basis, REAL* slope, REAL* core_slope,
                                          double* core_eV, double* contact, int atoms, int columns, int functions,
                                          double cutoff, double coulomb) {
  const int atom = warp_number(), lane = threadIdx.x % 32;
  if (atom >= atoms) return;
  double repulsion = 0, closest = LARGEST;
  for (int j = lane; j < columns; j += 32) {
    const size_t pair = size_t(atom) * columns + j, other = sender[pair];
    double vector[3], square = 0;
    for (int c = 0; c < 3; ++c) {
      vector[c] = positions[3 * other + c] - positions[3 * atom + c] + offset[3 * pair + c];
      square += vector[c] * vector[c];
    }
    const double r = sqrt(square), inverse = 1 / r;
    const Real4 ray = {REAL(vector[0] * inverse), REAL(vector[1] * inverse), REAL(vector[2] * inverse), REAL(r)};
    rays[pair] = ray;
    if (radius) {
      const double sum = radius[atom] + radius[other];
      closest = smaller(closest, square / (sum * sum));
    }
    double by_r = 0;
    if (core) {
      const double *own = core + 3 * species[atom], *theirs = core + 3 * species[other];
      const double reach = own[2] + theirs[2], shrinking = own[1] + theirs[1];
      if (r < reach) {
        const double weights[] = {CORE_WEIGHTS}, rates[] = {CORE_RATES};
        double screening = 0, slope_s = 0;
#pragma unroll
        for (size_t k = 0; k < sizeof(weights) / sizeof(double); ++k) {
          const double term = weights[k] * exp(-rates[k] * r * shrinking);
          screening += term;
          slope_s -= rates[k] * shrinking * term;
        }
        const double x = r / reach, x2 = x * x, x5 = x2 * x2 * x;
        const double u = 1 + x5 * x * (-28 + x * (48 - 21 * x)), slope_u = 168 * x5 * (-1 + x * (2 - x)) / reach;
        const double charges = 0.5 * coulomb * own[0] * theirs[0] * inverse;
        repulsion += charges * screening * u;
        by_r = charges * (slope_s * u + screening * (slope_u - u * inverse));
      }
    }
    core_slope[pair] = REAL(by_r);
    if (ray.w >= REAL(cutoff)) continue;
    const double x = r / cutoff, x2 = x * x, x5 = x2 * x2 * x;
    const double u = 1 + x5 * x * (-28 + x * (48 - 21 * x)), slope_u = 168 * x5 * (-1 + x * (2 - x)) / cutoff;
    const double scale = sqrt(2 / cutoff) * inverse;
    REAL *value = basis + pair * functions, *derivative = slope + pair * functions;
    value[0] = REAL(u);
    derivative[0] = REAL(slope_u);
    for (int k = 1; k < functions; ++k) {
      double sine, cosine;
      sincospi(frequency[k - 1] * r / PI, &sine, &cosine);
      value[k] = REAL(scale * sine * u);
      derivative[k] = REAL(scale * (frequency[k - 1] * cosine * u + sine * (slope_u - u * inverse)));
    }
  }
  repulsion = warp_sum(repulsion);
  for (int distance = 16; distance; distance /= 2)
    closest = smaller(closest, __shfl_xor_sync(~0u, closest, distance));
  if (lane) return;
  core_eV[atom] = repulsion;
  contact[atom] = closest;
}

// Forces (m, n, 3), a warp per member and atom, from derivatives by the pairs (m, n, J, 4). With G by direction and g by
// distance of a pair, g' and G' of the opposite one, a pair gives r^ (g + g' + core + core') + (1 - r^ r^T) (G - G')/r.
// The member at place m of the derivatives is number order[m].
extern "C" __global__ void forces(const long long* reverse, const Real4* rays, const REAL* core_slope,
                                  const Real4* by_rays, const long long* order, double* out, int size, int atoms,
                                  int columns) {
  const int number = warp_number(), lane = threadIdx.x % 32;
  if (number >= size) return;
  const int member = number / atoms, atom = number % atoms;
  by_rays += size_t(member) * atoms * columns;
  double x = 0, y = 0, z = 0;
  for (int j = lane; j < columns; j += 32) {
    const size_t pair = size_t(atom) * columns + j, opposite = reverse[pair];
    const Real4 ray = rays[pair], here = by_rays[pair], there = by_rays[opposite];
    const double g_x = here.x - there.x, g_y = here.y - there.y, g_z = here.z - there.z, inverse = 1 / double(ray.w);
    const double along = here.w + there.w + core_slope[pair] + core_slope[opposite] -
                         (g_x * ray.x + g_y * ray.y + g_z * ray.z) * inverse;
    x += ray.x * along + g_x * inverse;
    y += ray.y * along + g_y * inverse;
    z += ray.z * along + g_z * inverse;
  }
  x = warp_sum(x), y = warp_sum(y), z = warp_sum(z);
  if (lane) return;
  double* force = out + (size_t(order[member]) * atoms + atom) * 3;
  force[0] = x, force[1] = y, force[2] = z;
}

// Energies (m, B) of systems of A places with references (m, S), and their closest contacts (B,), a block per system.
extern "C" __global__ void totals(const double* energies, const double* core_eV, const double* contact,
                                  const long long* species, const bool* occupied, const double* references,
                                  const long long* order, double* total, double* closest, int systems, int places,
                                  int members, int kinds) {
  __shared__ double parts[THREADS];
  const int system = blockIdx.x, first = system * places;
  for (int m = 0; m <= members; ++m) {  // the last turn is for the contacts
    const double* of_member = energies + size_t(m) * systems * places;
    double own = m < members ? 0 : LARGEST;
    for (int n = first + threadIdx.x; n < first + places; n += THREADS) {
      if (m == members)
        own = smaller(own, contact[n]);
      else
        own += of_member[n] + core_eV[n] + (occupied[n] ? references[order[m] * kinds + species[n]] : 0.0);
    }
    __syncthreads();
    parts[threadIdx.x] = own;
    for (int half = THREADS / 2; half; half /= 2) {
      __syncthreads();
      if (threadIdx.x >= half) continue;
      const double other = parts[threadIdx.x + half];
      parts[threadIdx.x] = m < members ? parts[threadIdx.x] + other : smaller(parts[threadIdx.x], other);
    }
    if (threadIdx.x) continue;
    if (m < members)
      total[order[m] * systems + system] = parts[0];
    else
      closest[system] = sqrt(parts[0]);
  }
}
