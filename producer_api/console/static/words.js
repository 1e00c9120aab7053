// The words of the console, in English and Korean. A word without a translation is shown as it stands.

const KOREAN = {
  Jobs: "작업", Fleet: "엔드포인트", Usage: "사용량", Keys: "API 키", Playground: "대화해 보기", Workers: "워커", "API": "API 문서",
  "New job": "새 작업", "Sign in": "로그인", "Sign out": "로그아웃", "API key": "API 키", Status: "상태", Lines: "줄", Done: "완료",
  Failed: "실패", Cost: "비용", Created: "만든 때", Priority: "우선순위", Endpoints: "엔드포인트", Rate: "속도", Left: "남은 시간",
  "From cache": "캐시에서", Projection: "예상 비용", Tokens: "토큰", Pause: "일시 정지", Resume: "계속", Cancel: "취소",
  "Retry failed": "실패한 줄 다시 보내기", Download: "내려받기", Errors: "오류", "Change priority": "우선순위 바꾸기", "Change endpoints": "엔드포인트 바꾸기",
  "Waiting for": "기다리는 것", Prompt: "프롬프트", Answer: "답", Attempts: "시도", "All lines": "모든 줄", "Only failed": "실패한 줄만",
  "Only completed": "완료된 줄만", "Contains": "포함하는 글", "More": "더 보기", "Lines searched": "찾아본 줄", "Compare with job": "비교할 작업", Name: "이름", Weight: "가중치",
  "In flight": "처리 중", Latency: "지연 시간", "Last hour": "지난 한 시간", "Last error": "마지막 오류", Drain: "비우기", "Use again": "다시 쓰기",
  Remove: "제거", Add: "추가", Change: "바꾸기", Models: "모델", Day: "날짜", Model: "모델", Key: "키", Class: "등급", Requests: "요청", "Group by": "묶기",
  Create: "만들기", Revoke: "폐기", Rotate: "교체", Send: "보내기", Process: "프로세스", Upload: "올리기", Estimate: "견적",
  "Start": "시작", "Start with a canary of": "먼저 시험할 줄 수", "Price class": "가격 등급", File: "파일", "Prompt with {columns} of a CSV file": "CSV 열 이름을 쓴 프롬프트",
  "Confirm the canary": "시험 결과 확인", Limits: "한도", State: "상태", "in use": "사용 중", revoked: "폐기됨", draining: "비우는 중", healthy: "정상",
  failing: "실패 중", "Nothing here yet.": "아직 아무것도 없습니다.", "The secret is shown this once only:": "비밀 값은 지금 한 번만 보입니다:",
  "Requests a minute": "분당 요청", "USD a day": "하루 USD", "Days kept": "보관 일수", "Delete data": "데이터 삭제", Address: "주소", "Max in flight": "최대 동시 요청", "All": "전체", Input: "입력", Output: "출력",
  "This server asks for an API key.": "이 서버는 API 키를 요구합니다.", "Language": "언어",
};

const LANGUAGE = "roadbalancer-language";
export const language = {
  get: () => localStorage.getItem(LANGUAGE) || (navigator.language.startsWith("ko") ? "ko" : "en"),
  set: (value) => localStorage.setItem(LANGUAGE, value),
};

export const t = (words) => (language.get() === "ko" && KOREAN[words]) || words;
