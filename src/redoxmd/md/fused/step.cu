// The MD step of `redoxmd.md.step.BatchStep` around the evaluation of forces, in double precision: a block per slot, whose
// threads share its A places. Every sum runs in a fixed order.
constexpr int THREADS = 128;
constexpr double PI = 3.14159265358979323846;

__device__ __forceinline__ double larger(double a, double b) { return a != a || a > b ? a : b; }

// Sum, or the largest value (NaN if one is), of those of all threads, for all of them.
__device__ double block_result(double value, bool largest) {
  __shared__ double parts[THREADS];
  __syncthreads();
  parts[threadIdx.x] = value;
  for (int half = THREADS / 2; half; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    const double own = parts[threadIdx.x], other = parts[threadIdx.x + half];
    parts[threadIdx.x] = largest ? larger(own, other) : own + other;
  }
  __syncthreads();
  return parts[0];
}

// Three normal deviates, as `redoxmd.md.batched.noise.normals`: Philox4x32-10 and the Box-Muller transform.
__device__ void normals(long long key_0, long long key_1, long long step, int atom, double* deviates) {
  unsigned a = atom, b = unsigned(step), c = unsigned(step >> 32), d = 0, first = unsigned(key_0), second = unsigned(key_1);
  for (int round = 0; round < ROUNDS; ++round) {
    const unsigned long long product_a = (unsigned long long)a * MULTIPLIER_0, product_c = (unsigned long long)c * MULTIPLIER_1;
    a = unsigned(product_c >> 32) ^ b ^ first, b = unsigned(product_c);
    c = unsigned(product_a >> 32) ^ d ^ second, d = unsigned(product_a);
    first += WEYL_0, second += WEYL_1;
  }
  const double word = 1.0 / 4294967296.0;
  double sine_0, cosine_0, sine_1, cosine_1;
  const double radius_0 = sqrt(-2 * log((a + 0.5) * word)), radius_1 = sqrt(-2 * log((b + 0.5) * word));
  sincospi(2 * (c + 0.5) * word, &sine_0, &cosine_0);
  sincospi(2 * (d + 0.5) * word, &sine_1, &cosine_1);
  deviates[0] = radius_0 * cosine_0, deviates[1] = radius_1 * cosine_1, deviates[2] = radius_0 * sine_0;
}

// New positions and velocities (B, A, 3), all but the last kick, and whether each slot makes the step. Where it does not,
// positions are the old ones. Marks slots whose pairs must be searched first.
extern "C" __global__ void propagate(
    const double* positions, const double* velocities, const double* forces, const double* kick, const double* half_fs,
    const double* keep, const double* noise, const bool* thermostatted, const double* mass, const double* total_mass,
    const double* occupied, const long long* key, const long long* step, const double* searched, const bool* active,
    const bool* moved, const long long* move_every, double* new_positions, double* new_velocities, double* search_at,
    bool* outdated, bool* done, int places, double half_skin) {
  const int slot = blockIdx.x;
  const size_t first = size_t(slot) * places;
  const double half = half_fs[slot];
  double momentum[3] = {0, 0, 0};
  for (int n = threadIdx.x; n < places; n += THREADS) {
    double deviates[3] = {0, 0, 0};
    if (thermostatted[slot]) normals(key[2 * slot], key[2 * slot + 1], step[slot], n, deviates);
    for (int c = 0; c < 3; ++c) {
      const size_t i = 3 * (first + n) + c;
      double velocity = velocities[i] + kick[first + n] * forces[i];
      if (thermostatted[slot]) velocity = keep[slot] * velocity + noise[first + n] * deviates[c];
      new_velocities[i] = velocity;
      momentum[c] += mass[first + n] * velocity;
    }
  }
  for (int c = 0; c < 3; ++c)
    momentum[c] = thermostatted[slot] ? block_result(momentum[c], false) / total_mass[slot] : 0;
  double farthest = 0, sum = 0;
  for (int n = threadIdx.x; n < places; n += THREADS) {
    double square = 0;
    for (int c = 0; c < 3; ++c) {
      const size_t i = 3 * (first + n) + c;
      const double before = velocities[i] + kick[first + n] * forces[i];
      const double velocity = new_velocities[i] - momentum[c] * occupied[first + n];
      const double position = positions[i] + half * before + half * velocity;
      new_velocities[i] = velocity;
      new_positions[i] = position;
      square += (position - searched[i]) * (position - searched[i]);
      sum += position - position;  // zero, or NaN where a position is not finite
    }
    farthest = larger(farthest, square);
  }
  farthest = block_result(farthest, true);
  const bool finite = block_result(sum, false) == 0;
  const bool was_outdated = outdated[slot];
  const bool is_outdated = was_outdated || (active[slot] && finite && !(farthest < half_skin * half_skin));
  const bool due = move_every[slot] > 0 && step[slot] % move_every[slot] == 0 && !moved[slot];
  const bool makes = active[slot] && !is_outdated && !due;
  for (size_t i = 3 * first + threadIdx.x; i < 3 * (first + places); i += THREADS) {
    if (is_outdated && !was_outdated) search_at[i] = new_positions[i];
    if (!makes) new_positions[i] = positions[i];
  }
  __syncthreads();
  if (threadIdx.x) return;
  outdated[slot] = is_outdated;
  done[slot] = makes;
}

// The last kick, gate and guards, and the record of the frame in a log of results (K, B, 6) and frames (K, B, A, 3).
extern "C" __global__ void finish(
    const double* energies, const double* member_forces, const double* contact, const bool* done,
    const double* new_positions, const double* new_velocities, const double* kick, const double* mass,
    const double* degrees, const double* n_atoms, const bool* by_mean, const double* hottest, const double* fraction,
    const double* high, const long long* cursor, double* positions, double* velocities, double* forces, long long* step,
    bool* active, bool* moved, double* results, double* log_positions, double* log_velocities, double* log_forces,
    int places, int members, int slots, double acceleration, double boltzmann) {
  const int slot = blockIdx.x;
  const size_t first = size_t(slot) * places, all = size_t(slots) * places, frame = *cursor * slots + slot;
  const bool makes = done[slot];
  double kinetic = 0, spread = 0, sum = 0;
  for (int n = threadIdx.x; n < places; n += THREADS) {
    double variance = 0, square = 0;
    for (int c = 0; c < 3; ++c) {
      const size_t i = 3 * (first + n) + c, logged = 3 * (frame * places + n) + c;
      double mean = 0;
      for (int m = 0; m < members; ++m) mean += member_forces[3 * m * all + i];
      mean /= members;
      for (int m = 0; m < members; ++m) {
        const double deviation = member_forces[3 * m * all + i] - mean;
        variance += deviation * deviation;
        sum += member_forces[3 * m * all + i] - member_forces[3 * m * all + i];
      }
      if (makes) {
        positions[i] = new_positions[i];
        velocities[i] = new_velocities[i] + kick[first + n] * mean;
        forces[i] = mean;
      }
      sum += positions[i] - positions[i];
      square += velocities[i] * velocities[i];
      log_positions[logged] = positions[i], log_velocities[logged] = velocities[i], log_forces[logged] = forces[i];
    }
    kinetic += mass[first + n] * square;
    const double deviation = sqrt(variance / (members - 1));
    spread = by_mean[slot] ? spread + deviation : larger(spread, deviation);
  }
  spread = block_result(spread, !by_mean[slot]);
  kinetic = 0.5 * block_result(kinetic, false) / acceleration;
  const bool finite = block_result(sum, false) == 0;
  if (threadIdx.x) return;
  if (by_mean[slot]) spread /= n_atoms[slot];
  const double temperature = 2 * kinetic / (degrees[slot] * boltzmann);
  int guard = temperature > hottest[slot] ? 2 : contact[slot] < fraction[slot] ? 3 : 0;
  if (!finite || temperature - temperature != 0) guard = 1;
  double energy = 0;
  for (int m = 0; m < members; ++m) energy += energies[m * slots + slot];
  step[slot] += makes;
  moved[slot] = moved[slot] && !makes;
  if (makes && (guard > 0 || !(spread <= high[slot]))) active[slot] = false;
  const double result[] = {double(makes), double(step[slot]), spread, temperature, energy / members, double(guard)};
  for (int field = 0; field < 6; ++field) results[6 * frame + field] = result[field];
}
