#pragma once
// Scripts for tests, and questions about what was sent.

#include <string>
#include <vector>

#include "../world.hpp"

namespace muster {

constexpr uint64_t kNow = 1700006400000;

/** A node that has power from the start; `more` goes over the rest of the script. */
inline nlohmann::json scriptOf(const std::string& node, nlohmann::json more = nlohmann::json::object()) {
  nlohmann::json script{
      {"device", {{"id", "dev"}, {"node", node}, {"room", "hall"}}},
      {"clockMs", kNow},
      {"seed", 9},
      {"endMs", 3600000},
      {"climate", {{{"fromMs", 0}, {"riseMs", 50}, {"periodMs", 100}, {"temp", {215, 215}}, {"hum", {450, 450}}}}},
  };
  script.update(more);
  return script;
}

/** The lines that have a text in them, without their times. */
inline std::vector<std::string> linesWith(const World& world, const std::string& text) {
  std::vector<std::string> found;
  for (const std::string& line : world.trace()) {
    if (line.find(text) != std::string::npos) found.push_back(line.substr(line.find(' ') + 1));
  }
  return found;
}

/** When the lines that have a text in them were sent. */
inline std::vector<uint64_t> timesOf(const World& world, const std::string& text) {
  std::vector<uint64_t> times;
  for (const std::string& line : world.trace()) {
    if (line.find(text) != std::string::npos) times.push_back(std::stoull(line));
  }
  return times;
}

/** The JSON payloads of what was published on topics that have a text in them. */
inline std::vector<nlohmann::json> payloadsOf(const World& world, const std::string& topic) {
  std::vector<nlohmann::json> payloads;
  for (const std::string& line : linesWith(world, "publish " + topic)) {
    payloads.push_back(nlohmann::json::parse(line.substr(line.find('{'))));
  }
  return payloads;
}

inline std::string command(const std::string& id, const std::string& name, const std::string& more = "") {
  return R"({"id":")" + id + R"(","name":")" + name + "\"" + more + "}";
}

}  // namespace muster
