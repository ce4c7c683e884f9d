#include "json.hpp"

namespace muster {

namespace {

/** Goes over JSON text and tells what stands where. */
class Scanner {
 public:
  explicit Scanner(Text text, size_t at = 0) : text_(text), at_(at) {}

  size_t at() const { return at_; }
  bool isAtEnd() const { return at_ >= text_.size; }
  char peek() const { return isAtEnd() ? '\0' : text_.data[at_]; }

  void skipSpace() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
  }

  bool take(char wanted) {
    if (isAtEnd() || peek() != wanted) return false;
    ++at_;
    return true;
  }

  /** A key and its colon, and the space around them. */
  bool key(Text& name) {
    skipSpace();
    if (!string(name)) return false;
    skipSpace();
    if (!take(':')) return false;
    skipSpace();
    return true;
  }

  /** Any value; `raw` is as it is written, a string without its quotes. */
  bool value(JsonKind& kind, Text& raw) {
    const size_t start = at_;
    if (peek() == '"') {
      kind = JsonKind::string;
      return string(raw);
    }
    kind = peek() == '{' ? JsonKind::object : JsonKind::array;
    const bool isRead = peek() == '{' || peek() == '[' ? nested() : scalar(kind);
    raw = text_.part(start, at_ - start);
    return isRead;
  }

 private:
  bool string(Text& content) {
    if (!take('"')) return false;
    const size_t start = at_;
    while (!isAtEnd()) {
      const char character = text_.data[at_++];
      if (static_cast<uint8_t>(character) < 0x20) return false;
      if (character == '"') {
        content = text_.part(start, at_ - 1 - start);
        return true;
      }
      if (character == '\\' && !escape()) return false;
    }
    return false;
  }

  bool escape() {
    if (take('u')) {
      for (int index = 0; index < 4; ++index, ++at_) {
        const char digit = peek();
        const bool isHex =
            (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F');
        if (!isHex) return false;
      }
      return true;
    }
    constexpr char kKnown[] = {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'};
    for (const char known : kKnown) {
      if (take(known)) return true;
    }
    return false;
  }

  bool scalar(JsonKind& kind) {
    struct Word {
      Text text;
      JsonKind kind;
    };
    const Word words[] = {{"true", JsonKind::boolean}, {"false", JsonKind::boolean}, {"null", JsonKind::null}};
    for (const Word& word : words) {
      if (text_.part(at_, word.text.size) == word.text) {
        kind = word.kind;
        at_ += word.text.size;
        return true;
      }
    }
    const size_t start = at_;
    while ((peek() >= '0' && peek() <= '9') || peek() == '-' || peek() == '+' || peek() == '.' || peek() == 'e' ||
           peek() == 'E') {
      ++at_;
    }
    kind = JsonKind::number;
    return isNumber(text_.part(start, at_ - start));
  }

  /** An object or an array. Levels are counted instead of called: the stack of a device is small. */
  bool nested() {
    bool isObject[kMaxJsonDepth];
    uint8_t depth = 0;
    Text ignored;
    JsonKind kind;
    do {
      if (peek() == '{' || peek() == '[') {
        if (depth == kMaxJsonDepth) return false;
        isObject[depth++] = peek() == '{';
        ++at_;
        skipSpace();
        if (peek() != '}' && peek() != ']') {
          if (isObject[depth - 1] && !key(ignored)) return false;
          continue;
        }
      } else if (peek() == '"' ? !string(ignored) : !scalar(kind)) {
        return false;
      }
      // A value has ended, and with it perhaps what it stands in.
      for (;;) {
        skipSpace();
        if (!take(isObject[depth - 1] ? '}' : ']')) break;
        if (--depth == 0) return true;
      }
      if (!take(',')) return false;
      skipSpace();
      if (isObject[depth - 1] && !key(ignored)) return false;
    } while (true);
  }

  Text text_;
  size_t at_;
};

uint32_t hexDigits(Text text) {
  uint32_t value = 0;
  for (size_t at = 0; at < text.size; ++at) {
    const char digit = text.data[at];
    const int number = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
    value = value * 16 + static_cast<uint32_t>(number);
  }
  return value;
}

/** UTF-8 of a code point (RFC 3629, section 3). */
void writeCodePoint(Writer& out, uint32_t code) {
  const auto byte = [&out](uint32_t value) {
    const char character = static_cast<char>(value);
    out.text({&character, 1});
  };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xc0 | code >> 6);
    byte(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  } else {
    byte(0xf0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3f));
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  }
}

constexpr bool isHighSurrogate(uint32_t code) { return code >= 0xd800 && code < 0xdc00; }
constexpr bool isLowSurrogate(uint32_t code) { return code >= 0xdc00 && code < 0xe000; }

/** Writes what an escape at `at` stands for and steps over it; false for U+0000 and lone surrogates. */
bool unescape(Text raw, size_t& at, Writer& out) {
  const char kind = raw.data[at + 1];
  if (kind != 'u') {
    constexpr char kNames[] = "bfnrt";
    constexpr char kMeanings[] = "\b\f\n\r\t";
    char meaning = kind;
    for (size_t index = 0; index < 5; ++index) {
      if (kind == kNames[index]) meaning = kMeanings[index];
    }
    out.text({&meaning, 1});
    at += 2;
    return true;
  }
  uint32_t code = hexDigits(raw.part(at + 2, 4));
  at += 6;
  if (isHighSurrogate(code)) {
    const Text next = raw.part(at, 6);
    if (next.size < 6 || !next.startsWith("\\u")) return false;
    const uint32_t low = hexDigits(next.part(2));
    if (!isLowSurrogate(low)) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    at += 6;
  }
  if (code == 0 || isLowSurrogate(code)) return false;
  writeCodePoint(out, code);
  return true;
}

bool readContent(Text raw, Writer& out) {
  for (size_t at = 0; at < raw.size;) {
    if (raw.data[at] != '\\') {
      out.text(raw.part(at++, 1));
    } else if (!unescape(raw, at, out)) {
      return false;
    }
  }
  return !out.isCut();
}

}  // namespace

bool JsonField::isNamed(Text name) const {
  Buffer<32> plain;
  return readContent(key, plain) && plain.written() == name;
}

bool JsonField::readString(Writer& out) const { return kind == JsonKind::string && readContent(raw, out); }

bool JsonField::readNumber(uint8_t decimals, int64_t& value) const {
  return kind == JsonKind::number && readFixed(raw, decimals, value);
}

JsonObject::JsonObject(Text text) : text_(text) {
  if (text.size > kMaxJsonBytes) return;
  Scanner scanner(text);
  scanner.skipSpace();
  at_ = scanner.at() + 1;
  JsonKind kind;
  Text raw;
  if (scanner.peek() != '{' || !scanner.value(kind, raw)) return;
  scanner.skipSpace();
  isValid_ = scanner.isAtEnd();
}

bool JsonObject::next(JsonField& field) {
  if (!isValid_) return false;
  Scanner scanner(text_, at_);
  scanner.skipSpace();
  if (scanner.peek() == '}') return false;
  scanner.take(',');
  // It has been checked as a whole: neither can fail.
  if (!scanner.key(field.key) || !scanner.value(field.kind, field.raw)) return false;
  at_ = scanner.at();
  return true;
}

bool JsonObject::find(Text name, JsonField& field) const {
  JsonObject members = *this;
  bool isFound = false;
  for (JsonField member; members.next(member);) {
    if (!member.isNamed(name)) continue;
    field = member;
    isFound = true;
  }
  return isFound;
}

}  // namespace muster
