// The scripts of firmware/scripts and the traces that the WebAssembly build has to give as well.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "../world.hpp"

namespace muster {
namespace {

TEST(Scripts, LeadToTheTracesBesideThem) {
  size_t played = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MUSTER_SCRIPTS)) {
    if (entry.path().extension() != ".json") continue;
    World world(nlohmann::json::parse(std::ifstream(entry.path())));
    world.run();
    std::filesystem::path expectedPath = entry.path();
    std::ifstream expected(expectedPath.replace_extension(".trace"));
    std::string line;
    for (const std::string& actual : world.trace()) {
      ASSERT_TRUE(std::getline(expected, line)) << entry.path() << ": more than expected: " << actual;
      ASSERT_EQ(actual, line) << entry.path();
    }
    ASSERT_FALSE(std::getline(expected, line)) << entry.path() << ": missing: " << line;
    ++played;
  }
  EXPECT_GE(played, 4u);
}

}  // namespace
}  // namespace muster
