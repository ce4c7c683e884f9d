#pragma once
// When to try again after a connection was lost.

#include "transport.hpp"

namespace muster {

/** A connection that lives shorter may have been taken over: 2.0.11 does not say so (design: Shards). */
constexpr uint32_t kShortLivedMs = 10000;
/** The services are back before this: until then a restarted broker has nobody to give messages to (mqtt-pitfalls B7).
 */
constexpr uint32_t kLeastWaitMs = 500;
constexpr uint32_t kFirstCeilingMs = 1000;
constexpr uint32_t kLongestWaitMs = 60000;

/**
 * Exponential backoff with full jitter: anything from the least wait to a ceiling that doubles, so that a fleet does
 * not come back at once. Where another client has the same id, or the broker refuses, it is 5 to 30 s at least.
 */
class Reconnect {
 public:
  /** How long to wait, now that a connection was lost or could not be made. `livedMs` is 0 where none stood. */
  uint32_t lost(LostReason reason, uint32_t livedMs, uint32_t random);

 private:
  uint8_t failures_ = 0;
  uint8_t shortLived_ = 0;
};

}  // namespace muster
