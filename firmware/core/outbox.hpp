#pragma once
// Messages of which each one counts, until the broker has acknowledged them.

#include "contract.hpp"
#include "transport.hpp"

namespace muster {

/** Memory for messages that wait; a reading takes about 130 bytes. */
constexpr size_t kOutboxBytes = 2048;
/** So many are under way at once, each with a token of its own. */
constexpr uint8_t kOutboxWindow = 8;

/** What a waiting message is; its topic follows from it. */
struct Waiting {
  Channel channel = Channel::telemetry;
  uint8_t qos = 1;
  Text payload;
};

/**
 * A queue in a fixed number of bytes. Order is kept; a message leaves when it has been acknowledged, or when the queue
 * is full and it is the one to be dropped. What is under way is never dropped: the broker may have it already.
 */
class Outbox {
 public:
  /** Appends; answers how many messages were dropped for it, itself included where it did not fit. */
  uint8_t push(const Waiting& message, bool dropsOldest);
  /** The next one to send while fewer than `kOutboxWindow` are under way; false when there is none. */
  bool next(Waiting& message) const;
  /** The one that `next` told is under way. */
  void markSent(Token token);
  /** False for a token that is none of a message under way. */
  bool acknowledge(Token token);
  /** The connection is gone, and all tokens with it: what was under way waits again. */
  void forgetTokens();

  bool hasSent() const { return sent_ > 0; }
  uint16_t count() const { return count_; }

 private:
  struct Header {
    Token token;
    uint16_t size;
    Channel channel;
    uint8_t qos;
  };

  Header headerAt(size_t at) const;
  void writeHeader(size_t at, const Header& header);
  /** Where the first message that is not under way stands; `used_` where there is none. */
  size_t firstUnsent() const;
  void remove(size_t at);

  uint8_t bytes_[kOutboxBytes];
  size_t used_ = 0;
  uint16_t count_ = 0;
  uint8_t sent_ = 0;
};

}  // namespace muster
