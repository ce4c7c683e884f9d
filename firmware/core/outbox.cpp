#include "outbox.hpp"

namespace muster {

Outbox::Header Outbox::headerAt(size_t at) const {
  Header header;
  __builtin_memcpy(&header, bytes_ + at, sizeof header);
  return header;
}

void Outbox::writeHeader(size_t at, const Header& header) { __builtin_memcpy(bytes_ + at, &header, sizeof header); }

size_t Outbox::firstUnsent() const {
  size_t at = 0;
  while (at < used_ && headerAt(at).token != kNoToken) at += sizeof(Header) + headerAt(at).size;
  return at;
}

void Outbox::remove(size_t at) {
  const Header header = headerAt(at);
  const size_t end = at + sizeof header + header.size;
  if (header.token != kNoToken) --sent_;
  __builtin_memmove(bytes_ + at, bytes_ + end, used_ - end);
  used_ -= end - at;
  --count_;
}

uint8_t Outbox::push(const Waiting& message, bool dropsOldest) {
  const size_t needed = sizeof(Header) + message.payload.size;
  if (needed > kOutboxBytes) return 1;
  uint8_t dropped = 0;
  while (used_ + needed > kOutboxBytes) {
    const size_t oldest = firstUnsent();
    ++dropped;
    if (!dropsOldest || oldest == used_) return dropped;
    remove(oldest);
  }
  writeHeader(used_, {kNoToken, static_cast<uint16_t>(message.payload.size), message.channel, message.qos});
  __builtin_memcpy(bytes_ + used_ + sizeof(Header), message.payload.data, message.payload.size);
  used_ += needed;
  ++count_;
  return dropped;
}

bool Outbox::next(Waiting& message) const {
  const size_t at = firstUnsent();
  if (at == used_ || sent_ >= kOutboxWindow) return false;
  const Header header = headerAt(at);
  const auto* payload = reinterpret_cast<const char*>(bytes_ + at + sizeof header);
  message = {header.channel, header.qos, {payload, header.size}};
  return true;
}

void Outbox::markSent(Token token) {
  const size_t at = firstUnsent();
  Header header = headerAt(at);
  header.token = token;
  writeHeader(at, header);
  ++sent_;
}

bool Outbox::acknowledge(Token token) {
  // It stands for a message that waits.
  if (token == kNoToken) return false;
  for (size_t at = 0; at < used_; at += sizeof(Header) + headerAt(at).size) {
    if (headerAt(at).token != token) continue;
    remove(at);
    return true;
  }
  return false;
}

void Outbox::forgetTokens() {
  for (size_t at = 0; at < used_;) {
    Header header = headerAt(at);
    header.token = kNoToken;
    writeHeader(at, header);
    at += sizeof header + header.size;
  }
  sent_ = 0;
}

}  // namespace muster
