#pragma once
// Commands on `devices/{id}/command`: what they say, and which have been done already.

#include "json.hpp"

namespace muster {

/** An id is told back in the acknowledgement; more characters, or others than visible ASCII, are not taken. */
constexpr size_t kMaxCommandId = 64;

/** A command as it was read. */
struct Command {
  Buffer<kMaxCommandId> id;
  Buffer<32> name;
  /** An empty object where there are none. */
  Text args = "{}";
  /** Milliseconds since 1970 after which it is not to be done; 0 is never. */
  uint64_t expiresMs = 0;
  /** What is wrong with it; empty for a good one. */
  Text fault;
};

/** Reads `{"id","name","args","expires"}`; false where not even an id can be read, so that nothing can be answered. */
bool readCommand(Text payload, Command& command);

/** The ids of the last commands and what they came to: QoS 1 may deliver one twice (MQTT 5, section 4.3.2). */
class RecentCommands {
 public:
  /** Whether the id is known; `error` is what was answered then. */
  bool find(Text id, Text& error) const;
  void remember(Text id, Text error);

 private:
  static constexpr uint8_t kKept = 16;
  struct Entry {
    uint64_t hash = 0;
    /** Of a literal: it stays. */
    Text error;
  };
  Entry entries_[kKept];
  uint8_t next_ = 0;
};

}  // namespace muster
