#pragma once
// What arrives in JSON: configuration and commands. Nothing is copied, nothing is recursive, everything is bounded.

#include "text.hpp"

namespace muster {

/** What a JSON value is. */
enum class JsonKind : uint8_t { string, number, boolean, null, object, array };

/** One member of an object, as it is written: a string without its quotes, escapes not yet read. */
struct JsonField {
  Text key;
  JsonKind kind = JsonKind::null;
  Text raw;

  bool isNamed(Text name) const;
  /** The characters of a string; false where it is none, or longer than the buffer, or has U+0000 in it. */
  bool readString(Writer& out) const;
  /** A number in units of `10^-decimals`; false where it is none or too large. */
  bool readNumber(uint8_t decimals, int64_t& value) const;
};

/** More bytes are not read: a command or a configuration is short, and the device has little memory. */
constexpr size_t kMaxJsonBytes = 2048;
/** Objects and arrays within each other; deeper ones are refused. */
constexpr uint8_t kMaxJsonDepth = 8;

/** A JSON object (RFC 8259). It is checked to its end before anything of it can be read. */
class JsonObject {
 public:
  explicit JsonObject(Text text);

  bool isValid() const { return isValid_; }
  /** The next member, in the order in which they are written; false at the end or where the text is no object. */
  bool next(JsonField& field);
  /** The last member of a name, as JavaScript has it. */
  bool find(Text name, JsonField& field) const;

 private:
  Text text_;
  size_t at_ = 0;
  bool isValid_ = false;
};

}  // namespace muster
